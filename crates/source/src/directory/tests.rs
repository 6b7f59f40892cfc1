//! The core without IO: sequences of what files say, and what comes out.

use std::collections::BTreeMap;

use proptest::prelude::*;
use umbra_ir::Kind;

use super::*;

/// A Service `name` whose port is `version`.
fn service(name: &str, version: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  ports: [{{name: http, port: {version}}}]\n"
    )
}

fn id(name: &str) -> ObjectId {
    ObjectId::new(Kind::Service, "default", name)
}

const BROKEN: &str = "a: [\n";
const WRONG_TYPE: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: 5}\n";
const NAMELESS: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {nmae: a}\n";

fn read(directory: &mut Directory, path: &str, text: &str) {
    let had = directory.files.get(path).is_some_and(|file| !file.objects.is_empty());
    directory.read(&path.into(), Reading::parse(text, path, had));
}

fn port(object: &Object) -> u16 {
    match object {
        Object::Service(service) => u16::try_from(service.spec.ports[0].port).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The changes as `+a1` (put, with its version) and `-a`, and the diagnostics as `code file:line`.
fn settle(directory: &mut Directory) -> (String, String) {
    let update = directory.settle();
    let changes = update.changes.iter().map(|change| match change {
        Change::Upsert(object) => format!("+{}{}", object.meta().name, port(object)),
        Change::Delete(id) => format!("-{}", id.name),
    });
    let diagnostics = update.diagnostics.iter().map(|d| {
        let line = d.line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("{} {}{line}", d.code, d.file.as_deref().unwrap_or_default())
    });
    (changes.collect::<Vec<_>>().join(" "), diagnostics.collect::<Vec<_>>().join(", "))
}

enum Step<'a> {
    Read(&'a str, String),
    Miss(&'a str),
    Keep(&'a str),
    Remove(&'a str),
}
use Step::{Keep, Miss, Read, Remove};

/// Takes each step and compares changes and diagnostics.
fn check(name: &str, steps: &[(Step<'_>, &str, &str)]) {
    let mut directory = Directory::default();
    for (number, (step, changes, diagnostics)) in steps.iter().enumerate() {
        match step {
            Read(path, text) => read(&mut directory, path, text),
            Miss(path) => directory.miss(path),
            Keep(path) => directory.keep(path),
            Remove(path) => directory.remove(path),
        }
        let (got_changes, got_diagnostics) = settle(&mut directory);
        assert_eq!(got_changes, *changes, "{name}, step {number}: changes");
        assert_eq!(got_diagnostics, *diagnostics, "{name}, step {number}: diagnostics");
    }
}

fn text(parts: &[&str]) -> String {
    parts.concat()
}

#[test]
fn an_edited_file_changes_what_was_edited() {
    let two = text(&[&service("a", 1), &service("b", 1)]);
    let edited = text(&[&service("a", 1), &service("b", 2)]);
    check(
        "edit",
        &[
            (Read("f.yaml", two.clone()), "+a1 +b1", ""),
            (Read("f.yaml", two), "", ""),
            (Read("f.yaml", edited), "+b2", ""),
            (Read("f.yaml", service("b", 2)), "-a", ""),
            (Remove("f.yaml"), "-b", ""),
            (Remove("f.yaml"), "", ""),
        ],
    );
}

#[test]
fn what_was_good_stays() {
    let good = service("a", 1);
    for (name, bad, diagnostics) in [
        ("no YAML", BROKEN.to_owned(), "SyntaxError f.yaml:1, KeptLastGood f.yaml"),
        ("cut at nothing", String::new(), "FileEmpty f.yaml, KeptLastGood f.yaml"),
        ("only blank", " \n\n".to_owned(), "FileEmpty f.yaml, KeptLastGood f.yaml"),
        ("wrong type", WRONG_TYPE.to_owned(), "WrongType f.yaml:5, KeptLastGood f.yaml"),
        ("nameless", NAMELESS.to_owned(), "NoIdentity f.yaml:4, KeptLastGood f.yaml"),
    ] {
        check(
            name,
            &[
                (Read("f.yaml", good.clone()), "+a1", ""),
                (Read("f.yaml", bad.clone()), "", diagnostics),
                (Read("f.yaml", bad), "", diagnostics),
                (Read("f.yaml", service("a", 2)), "+a2", ""),
                (Remove("f.yaml"), "-a", ""),
            ],
        );
    }
}

#[test]
fn what_never_was_good_is_left_out_and_the_rest_counts() {
    check("broken", &[(Read("f.yaml", BROKEN.to_owned()), "", "SyntaxError f.yaml:1")]);
    check("empty", &[(Read("f.yaml", String::new()), "", "")]);
    let mixed = text(&[WRONG_TYPE, &service("b", 1)]);
    check("mixed", &[(Read("f.yaml", mixed), "+b1", "WrongType f.yaml:5")]);
    let edited = text(&[&service("b", 2), NAMELESS]);
    check(
        "an edit beside a nameless document",
        &[
            (Read("f.yaml", text(&[&service("a", 1), &service("b", 1)])), "+a1 +b1", ""),
            (Read("f.yaml", edited), "+b2", "NoIdentity f.yaml:10, KeptLastGood f.yaml"),
        ],
    );
}

#[test]
fn of_one_object_in_two_files_the_first_path_wins() {
    check(
        "two files",
        &[
            (Read("b.yaml", service("a", 2)), "+a2", ""),
            (Read("c.yaml", service("a", 3)), "", "DuplicateObject c.yaml:4"),
            (Read("a.yaml", service("a", 1)), "+a1", "DuplicateObject b.yaml:4, DuplicateObject c.yaml:4"),
            (
                Read("a.yaml", BROKEN.to_owned()),
                "",
                "SyntaxError a.yaml:1, KeptLastGood a.yaml, DuplicateObject b.yaml:4, DuplicateObject c.yaml:4",
            ),
            (Remove("a.yaml"), "+a2", "DuplicateObject c.yaml:4"),
            (Remove("c.yaml"), "", ""),
            (Remove("b.yaml"), "-a", ""),
        ],
    );
    let twice = text(&[&service("a", 1), &service("a", 2)]);
    check("twice in one", &[(Read("f.yaml", twice), "+a1", "DuplicateObject f.yaml:10")]);
}

#[test]
fn a_file_that_is_missing_for_a_moment_takes_nothing_away() {
    check(
        "swap",
        &[(Read("a.yaml", service("a", 1)), "+a1", ""), (Miss("a.yaml"), "", ""), (Keep("a.yaml"), "", "")],
    );
    check(
        "rename",
        &[
            (Read("a.yaml", service("a", 1)), "+a1", ""),
            (Miss("a.yaml"), "", ""),
            (Read("b.yaml", service("a", 2)), "+a2", ""),
            (Remove("a.yaml"), "", ""),
        ],
    );
}

#[test]
fn places_follow_the_file_even_when_the_object_is_the_same() {
    let mut directory = Directory::default();
    read(&mut directory, "f.yaml", &service("a", 1));
    directory.settle();
    read(&mut directory, "f.yaml", &format!("# moved\n{}", service("a", 1)));
    let update = directory.settle();
    assert!(update.changes.is_empty());
    let [(moved, Some(place))] = update.places.as_slice() else { panic!("{:?}", update.places) };
    assert_eq!(*moved, id("a"));
    assert_eq!(place.locate("metadata.name").map(|(line, _)| line), Some(5));
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<(usize, u16)>),
    Break(usize, usize),
    Miss(usize),
    Remove(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let objects = proptest::collection::vec((0..4_usize, 1..4_u16), 0..4);
    let op = prop_oneof![
        4 => (0..3_usize, objects).prop_map(|(file, objects)| Op::Write(file, objects)),
        2 => (0..3_usize, 0..3_usize).prop_map(|(file, how)| Op::Break(file, how)),
        1 => (0..3_usize).prop_map(Op::Miss),
        1 => (0..3_usize).prop_map(Op::Remove),
    ];
    proptest::collection::vec(op, 0..30)
}

proptest! {
    /// Replaying the changes gives what a plain model says: each file's last good objects, first path first.
    #[test]
    fn changes_add_up_to_the_last_good_objects(ops in ops()) {
        let (paths, names) = (["a.yaml", "b.yaml", "c.yaml"], ["k", "l", "m", "n"]);
        let mut directory = Directory::default();
        let mut model: BTreeMap<&str, (bool, BTreeMap<&str, u16>)> = BTreeMap::new();
        let mut replayed: BTreeMap<String, u16> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Write(file, objects) => {
                    let text: String = objects.iter().map(|(name, version)| service(names[*name], *version)).collect();
                    read(&mut directory, paths[file], &text);
                    let mut held = BTreeMap::new();
                    for (name, version) in objects {
                        held.entry(names[name]).or_insert(version);
                    }
                    let before = model.remove(paths[file]).map(|(_, held)| held).unwrap_or_default();
                    // An emptied file says nothing.
                    model.insert(paths[file], (true, if held.is_empty() { before } else { held }));
                }
                Op::Break(file, how) => {
                    read(&mut directory, paths[file], [BROKEN, "", NAMELESS][how]);
                    model.entry(paths[file]).or_default().0 = true;
                }
                Op::Miss(file) => {
                    directory.miss(paths[file]);
                    if let Some(file) = model.get_mut(paths[file]) {
                        file.0 = false;
                    }
                }
                Op::Remove(file) => {
                    directory.remove(paths[file]);
                    model.remove(paths[file]);
                }
            }
            for change in directory.settle().changes {
                match change {
                    Change::Upsert(object) => {
                        let old = replayed.insert(object.meta().name.to_string(), port(&object));
                        prop_assert_ne!(old, Some(port(&object)), "a change that changes nothing");
                    }
                    Change::Delete(id) => prop_assert!(replayed.remove(&*id.name).is_some()),
                }
            }
            let mut expected: BTreeMap<String, u16> = BTreeMap::new();
            for present in [true, false] {
                for (_, held) in model.values().filter(|(there, _)| *there == present) {
                    for (name, version) in held {
                        expected.entry((*name).to_owned()).or_insert(*version);
                    }
                }
            }
            prop_assert_eq!(&replayed, &expected);
        }
    }

    /// Whatever the bytes: no panic, and a following good version counts.
    #[test]
    fn any_text_is_survived(garbage in "\\PC*|([a-z\\-:\\[\\]{}&*\n ,'\"|>!#]{0,200})") {
        let mut directory = Directory::default();
        read(&mut directory, "f.yaml", &service("a", 1));
        directory.settle();
        read(&mut directory, "f.yaml", &garbage);
        directory.settle();
        read(&mut directory, "f.yaml", &service("a", 3));
        prop_assert_eq!(settle(&mut directory).1, "");
    }
}
