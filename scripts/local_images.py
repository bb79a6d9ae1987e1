"""The images of the containers in the local AWS."""

import re


def is_local(name):
    """Whether the registry of an image is on this machine."""
    return re.match(r"(localhost|127\.0\.0\.1)(:\d+)?/", name) is not None


def in_ministack():
    """Takes images of other registries from the engine if it has them, as an ECS agent with ECS_IMAGE_PULL_BEHAVIOR=prefer-cached does.

    ministack asks the registry and its mirrors several times for each task. Where no registry answers, a task then starts a minute late.
    """
    from docker.errors import ImageNotFound, NotFound
    from docker.models.images import ImageCollection

    pull, read = ImageCollection.pull, ImageCollection.get_registry_data

    def cached(images, name):
        try:
            return None if is_local(name) else images.get(name)
        except ImageNotFound:
            return None

    def pull_if_missing(images, repository, tag=None, all_tags=False, **more):
        image = cached(images, f"{repository}:{tag}" if tag else repository)
        return image or pull(images, repository, tag=tag, all_tags=all_tags, **more)

    def read_if_missing(images, name, **more):
        if cached(images, name):
            raise NotFound(f"{name} is not read from its registry")
        return read(images, name, **more)

    ImageCollection.pull, ImageCollection.get_registry_data = pull_if_missing, read_if_missing
