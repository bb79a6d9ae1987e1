//! The keys of the tags that ecs-pipe writes.

/// The tag that says which app a resource belongs to.
pub const TAG_APP: &str = "ecs-pipe:app";
/// The tag that says which tool created a resource.
pub const TAG_STAGE: &str = "ecs-pipe:stage";
/// The tag that tells the resources of one tool apart.
pub const TAG_NAME: &str = "ecs-pipe:name";
/// The tag with the keys of the user's own tags, so that a run knows which ones have left the document.
pub const TAG_KEYS: &str = "ecs-pipe:tags";
