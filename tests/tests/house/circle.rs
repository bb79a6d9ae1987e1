//! Finds circles in a graph.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The nodes with the nodes to which they point.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Returns the circles: for each node of a circle the shortest one, and each circle once. A circle
/// begins with its first node in alphabetical order. A node that points to itself is none.
pub fn circles(graph: &Graph) -> BTreeSet<Vec<String>> {
    graph.keys().filter_map(|node| shortest(graph, node)).map(from_first).collect()
}

/// Returns the shortest way from a node back to itself, over at least one other node.
fn shortest(graph: &Graph, start: &str) -> Option<Vec<String>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(node) = next.pop_front() {
        for target in graph.get(node).into_iter().flatten().map(String::as_str).filter(|target| *target != node) {
            if target == start {
                return Some(way(&before, start, node));
            }
            if !before.contains_key(target) {
                before.insert(target, node);
                next.push_back(target);
            }
        }
    }
    None
}

fn way(before: &BTreeMap<&str, &str>, start: &str, end: &str) -> Vec<String> {
    let mut way = vec![end.to_owned()];
    let mut node = end;
    while node != start {
        node = before[node];
        way.push(node.to_owned());
    }
    way.reverse();
    way
}

fn from_first(mut circle: Vec<String>) -> Vec<String> {
    let first = circle.iter().enumerate().min_by_key(|(_, node)| *node).map_or(0, |(index, _)| index);
    circle.rotate_left(first);
    circle
}

#[test]
fn a_graph_without_a_circle_has_none() {
    assert_eq!(found(&[]), [""; 0]);
    assert_eq!(found(&["a b", "b c", "c d"]), [""; 0], "a chain");
    assert_eq!(found(&["a b", "a c", "b d", "c d"]), [""; 0], "two ways to one node");
    assert_eq!(found(&["a b", "c b"]), [""; 0], "a node without a way back");
}

#[test]
fn a_node_that_points_to_itself_is_no_circle() {
    assert_eq!(found(&["a a"]), [""; 0]);
    assert_eq!(found(&["a a", "a b", "b b", "b a"]), ["a b"]);
}

#[test]
fn a_circle_is_found_once_from_each_of_its_nodes() {
    assert_eq!(found(&["a b", "b a"]), ["a b"]);
    assert_eq!(found(&["c a", "b c", "a b"]), ["a b c"]);
    assert_eq!(found(&["start c", "c b", "b a", "a c"]), ["a c b"], "the way to a circle is not part of it");
}

#[test]
fn each_circle_is_found() {
    assert_eq!(found(&["a b", "b a", "c d", "d c", "b c"]), ["a b", "c d"], "two circles with a way between them");
    assert_eq!(found(&["a b", "b a", "b c", "c b"]), ["a b", "b c"], "two circles with a common node");
    assert_eq!(found(&["a b", "b c", "c a", "b a"]), ["a b", "a b c"], "a short and a long circle");
}

#[test]
fn a_circle_of_many_nodes_is_found() {
    let edges: Vec<String> = (0..1000).map(|n| format!("{n:03} {:03}", (n + 1) % 1000)).collect();
    let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
    let all: Vec<String> = (0..1000).map(|n| format!("{n:03}")).collect();
    assert_eq!(found(&edges), [all.join(" ")]);
}

/// Returns the circles of a graph, whose edges are written as `from to`.
#[cfg(test)]
fn found(edges: &[&str]) -> Vec<String> {
    let mut graph = Graph::new();
    for edge in edges {
        let (from, to) = edge.split_once(' ').unwrap();
        graph.entry(from.to_owned()).or_default().insert(to.to_owned());
        graph.entry(to.to_owned()).or_default();
    }
    circles(&graph).into_iter().map(|circle| circle.join(" ")).collect()
}
