//! The scanner on real files, with a clock of the test's own.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use umbra_api::Change;

struct World {
    folder: tempfile::TempDir,
    scanner: Scanner,
    now: Instant,
    again: Option<Instant>,
}

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scanner = Scanner::new(folder.path());
        World { folder, scanner, now: Instant::now(), again: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn said(&mut self, scan: Scan) -> String {
        self.again = scan.again;
        let mut said: Vec<String> = scan
            .update
            .changes
            .iter()
            .map(|change| match change {
                Change::Upsert(object) => format!("+{}", object.meta().name),
                Change::Delete(id) => format!("-{}", id.name),
            })
            .collect();
        said.extend(scan.update.diagnostics.iter().map(|d| d.code.to_string()));
        said.join(" ")
    }

    fn first(&mut self) -> String {
        let scan = self.scanner.first(self.now);
        self.said(scan)
    }

    /// Looks without an event, `millis` later.
    fn poll(&mut self, millis: u64) -> String {
        self.now += Duration::from_millis(millis);
        let scan = self.scanner.look(self.now, &Told::default());
        self.said(scan)
    }

    /// Looks because a writer has finished with these.
    fn finished(&mut self, names: &[&str]) -> String {
        self.told(names, &[])
    }

    /// Looks because events told of these, as finished and as deleted.
    fn told(&mut self, finished: &[&str], deleted: &[&str]) -> String {
        let paths = |names: &[&str]| names.iter().map(|name| self.path(name)).collect();
        let told = Told { finished: paths(finished), deleted: paths(deleted), ..Told::default() };
        let scan = self.scanner.look(self.now, &told);
        self.said(scan)
    }
}

#[test]
fn which_files_are_read() {
    let mut world = World::new();
    for name in ["a.yaml", "b.yml", "c.json", "deep/er/d.yaml"] {
        world.write(name, &namespace(&name.replace(['.', '/'], "-")));
    }
    for name in ["e.txt", ".f.yaml", ".git/g.yaml", "yaml", ".yaml", "h.yaml~"] {
        world.write(name, &namespace("no"));
    }
    assert_eq!(world.first(), "+a-yaml +b-yml +c-json +deep-er-d-yaml");
}

#[test]
fn links_are_followed_and_loops_are_not() {
    let mut world = World::new();
    // As a ConfigMap is mounted: the data stand in a hidden folder.
    world.write("..2024_1/a.yaml", &namespace("a"));
    symlink("..2024_1", world.path("..data")).unwrap();
    symlink("..data/a.yaml", world.path("a.yaml")).unwrap();
    assert_eq!(world.first(), "+a");
    symlink(".", world.path("loop")).unwrap();
    assert_eq!(world.poll(0), "FolderTwice");
    fs::remove_file(world.path("loop")).unwrap();
    // The swap is a rename of the hidden link: no waiting.
    world.write("..2024_2/a.yaml", &namespace("b"));
    symlink("..2024_2", world.path("..data_tmp")).unwrap();
    fs::rename(world.path("..data_tmp"), world.path("..data")).unwrap();
    assert_eq!(world.finished(&["..data_tmp", "..data"]), "-a +b");
    fs::remove_dir_all(world.path("..2024_2")).unwrap();
    assert_eq!(world.poll(5000), "FileUnreadable", "a link that leads nowhere keeps what was read");
    fs::remove_file(world.path("a.yaml")).unwrap();
    assert_eq!(world.poll(0), "");
    assert_eq!(world.poll(1000), "-b");
}

#[test]
fn a_change_without_an_event_is_taken_when_it_is_quiet() {
    let mut world = World::new();
    world.write("a.yaml", &namespace("a"));
    assert_eq!(world.first(), "+a");
    assert_eq!(world.again, None);
    world.write("a.yaml", "apiVersion: v1\n");
    assert_eq!(world.poll(100), "");
    assert_eq!(world.again, Some(world.now + QUIET));
    world.write("a.yaml", &format!("{}---\n{}", namespace("a"), namespace("b")));
    assert_eq!(world.poll(950), "", "it has just changed again");
    assert_eq!(world.poll(999), "");
    assert_eq!(world.poll(1), "+b");
    assert_eq!(world.again, None);
}

#[test]
fn an_event_is_believed_at_once() {
    let mut world = World::new();
    assert_eq!(world.first(), "");
    world.write("a.yaml", &namespace("a"));
    assert_eq!(world.finished(&["a.yaml"]), "+a");
    world.write("b.yaml", &namespace("b"));
    assert_eq!(world.finished(&["a.yaml"]), "", "another file's event says nothing about this one");
    world.write("moved/in/c.yaml", &namespace("c"));
    assert_eq!(world.finished(&["moved"]), "+c");
    assert_eq!(world.finished(&["b.yaml"]), "+b");
}

#[test]
fn a_deleted_file_is_gone_when_it_stays_away() {
    let mut world = World::new();
    world.write("a.yaml", &namespace("a"));
    world.write("b.yaml", &namespace("b"));
    assert_eq!(world.first(), "+a +b");
    fs::remove_file(world.path("a.yaml")).unwrap();
    assert_eq!(world.finished(&["a.yaml"]), "");
    world.write("a.yaml", &namespace("a"));
    assert_eq!(world.poll(2000), "", "an editor swapped it");
    fs::remove_file(world.path("a.yaml")).unwrap();
    assert_eq!(world.poll(2000), "");
    assert_eq!(world.poll(1000), "-a");
}

#[test]
fn a_deletion_that_was_told_counts_at_once() {
    let swap = SWAP.as_millis() as u64;
    let mut world = World::new();
    for name in ["a.yaml", "b.yaml", "sub/c.yaml", "link/d.yaml"] {
        world.write(name, &namespace(&name.replace(['.', '/'], "-")));
    }
    assert_eq!(world.first(), "+a-yaml +b-yaml +link-d-yaml +sub-c-yaml");
    // Deleted and created anew: never gone, and read when its writer has finished.
    fs::remove_file(world.path("a.yaml")).unwrap();
    assert_eq!(world.told(&[], &["a.yaml"]), "");
    assert_eq!(world.again, Some(world.now + SWAP));
    world.write("a.yaml", "");
    assert_eq!(world.poll(swap), "");
    world.write("a.yaml", &namespace("a-new"));
    assert_eq!(world.finished(&["a.yaml"]), "+a-new -a-yaml");
    // Deleted.
    fs::remove_file(world.path("a.yaml")).unwrap();
    assert_eq!(world.told(&[], &["a.yaml"]), "");
    assert_eq!(world.poll(swap - 1), "");
    assert_eq!(world.poll(1), "-a-new");
    // Told later than it was seen.
    fs::remove_file(world.path("b.yaml")).unwrap();
    assert_eq!(world.poll(0), "");
    assert_eq!(world.poll(swap), "");
    assert_eq!(world.told(&[], &["b.yaml"]), "-b-yaml");
    // With its folder.
    fs::remove_dir_all(world.path("sub")).unwrap();
    assert_eq!(world.told(&[], &["sub"]), "");
    assert_eq!(world.poll(swap), "-sub-c-yaml");
    // A folder in the place of another.
    world.write("next/e.yaml", &namespace("e"));
    fs::rename(world.path("link"), world.path(".old")).unwrap();
    fs::rename(world.path("next"), world.path("link")).unwrap();
    assert_eq!(world.finished(&["link"]), "+e");
    assert_eq!(world.poll(swap), "-link-d-yaml");
}

/// A folder is walked when something else than plain files was told of, when something is due, and when it is long ago.
#[test]
fn what_was_told_of_is_all_that_is_looked_at() {
    let files: &[&str] = &["a.yaml"];
    let link: &[&str] = &["link.yaml"];
    let none: &[&str] = &[];
    for (what, finished, touched, deleted, millis, near, links) in [
        ("a file", files, &[][..], &[][..], 0, true, link),
        ("with the half that it was", files, &[".a.half"], &[], 0, true, link),
        ("with what is no manifest", files, &["notes.txt", "gone.tmp"], &[], 0, true, link),
        ("a new one, beside one not told of", &["sub/n.yaml"], &["sub/n.yaml"], &[], 0, true, link),
        ("long ago", files, &[], &[], 2000, false, link),
        ("nothing", &[], &[], &[], 0, false, link),
        ("deleted", &[], &[], files, 0, false, link),
        ("renamed away", files, &["old.yaml"], &[], 0, false, link),
        ("a folder", files, &["sub"], &[], 0, false, link),
        ("a link", &["link.yaml"], &[], &[], 0, false, link),
        ("a hidden file", &[".hidden.yaml"], &[], &[], 0, false, link),
        ("a hidden file, without links", &[".hidden.yaml"], &[], &[], 0, true, none),
        ("a half that is still there, without links", files, &[".hidden.yaml"], &[], 0, true, none),
        ("where nobody looked", &["none/a.yaml"], &[], &[], 0, false, link),
    ] {
        let mut world = World::new();
        for name in ["a.yaml", "b.yaml", "sub/c.yaml", ".hidden.yaml", "notes.txt"] {
            world.write(name, &namespace("old"));
        }
        links.iter().for_each(|link| symlink("b.yaml", world.path(link)).unwrap());
        world.first();
        world.write("a.yaml", &namespace("new"));
        world.write("sub/n.yaml", &namespace("n"));
        let paths = |names: &[&str]| names.iter().map(|name| world.path(name)).collect();
        let told = Told {
            finished: paths(finished),
            touched: paths(touched),
            deleted: paths(deleted),
            elsewhere: false,
        };
        let now = world.now + Duration::from_millis(millis);
        let scan = world.scanner.look(now, &told);
        assert_eq!(scan.folders.is_none(), near, "{what}");
        let news = scan.update.changes.len();
        assert_eq!(
            news,
            usize::from(finished.iter().any(|f| ["a.yaml", "sub/n.yaml"].contains(f))),
            "{what}"
        );
    }
}

/// What waits is looked at in time, however often others are told of.
#[test]
fn a_file_told_of_hides_no_other() {
    let mut world = World::new();
    world.write("a.yaml", &namespace("a"));
    assert_eq!(world.first(), "+a");
    world.write("b.yaml", &namespace("b"));
    assert_eq!(world.poll(0), "", "it has no event");
    for step in 0..10 {
        world.now += Duration::from_millis(99);
        world.write("a.yaml", &namespace(&format!("a{step}")));
        let said = world.finished(&["a.yaml"]);
        assert!(said.contains(&format!("+a{step}")) && !said.contains("+b"), "{said}");
    }
    world.now += Duration::from_millis(10);
    assert_eq!(world.finished(&["a.yaml"]), "+b");
}

#[test]
fn a_folder_that_is_gone_keeps_everything() {
    let mut world = World::new();
    world.write("sub/a.yaml", &namespace("a"));
    assert_eq!(world.first(), "+a");
    let (root, away) = (world.folder.path().to_owned(), world.folder.path().with_extension("away"));
    fs::rename(&root, &away).unwrap();
    for _ in 0..3 {
        assert_eq!(world.poll(2000), "FolderUnreadable");
    }
    fs::rename(&away, &root).unwrap();
    assert_eq!(world.poll(2000), "");
}

#[test]
fn what_is_no_text_file_is_said_and_never_waited_for() {
    let mut world = World::new();
    world.write("a.yaml", &namespace("a"));
    fs::write(world.path("b.yaml"), [0xff, 0xfe]).unwrap();
    std::os::unix::net::UnixListener::bind(world.path("c.yaml")).unwrap();
    assert_eq!(world.first(), "+a FileUnreadable FileNotUtf8");
    fs::write(world.path("a.yaml"), [0xff, 0xfe]).unwrap();
    assert_eq!(world.finished(&["a.yaml"]), "FileUnreadable FileNotUtf8 KeptLastGood FileNotUtf8");
}

#[test]
fn a_touched_file_costs_nothing() {
    let mut world = World::new();
    world.write("a.yaml", &namespace("a"));
    world.first();
    world.write("a.yaml", &namespace("a"));
    let path = world.path("a.yaml");
    let scan = world.scanner.look(world.now, &Told { finished: vec![path], ..Told::default() });
    assert!(scan.update.changes.is_empty() && scan.update.places.is_empty());
}

#[test]
fn links_that_lead_out_are_followed_a_bounded_way() {
    let far = tempfile::tempdir().unwrap();
    let below = |n: usize| far.path().join("f/".repeat(n));
    fs::create_dir_all(below(8)).unwrap();
    for n in 0..8 {
        fs::write(below(n).join("a.yaml"), namespace(&format!("far-{n}"))).unwrap();
    }
    let mut world = World::new();
    world.write("near/a.yaml", &namespace("near"));
    symlink(far.path(), world.path("far")).unwrap();
    assert_eq!(world.first(), "+far-0 +far-1 +far-2 +far-3 +far-4 +near FolderNotEntered");
    fs::remove_file(world.path("far")).unwrap();
    assert_eq!(world.told(&[], &["far"]), "");
    assert_eq!(world.poll(1000), "-far-0 -far-1 -far-2 -far-3 -far-4");
    // What is a circle, what is without end.
    for target in ["/", "/proc", "/proc/self", "/sys", "..", "/dev"] {
        symlink(target, world.path("out")).unwrap();
        assert_eq!(world.poll(0), "FolderNotEntered", "{target}");
        fs::remove_file(world.path("out")).unwrap();
    }
    // What is not the kernel's, but large.
    for n in 0..10_001 {
        fs::write(far.path().join(format!("{n}.txt")), "").unwrap();
    }
    symlink(far.path(), world.path("far")).unwrap();
    assert_eq!(world.poll(0), "FolderNotEntered");
    symlink("far", world.path("again")).unwrap();
    assert_eq!(world.poll(5000), "FolderNotEntered FolderTwice");
}

/// A file that holds so many.
fn namespaces(count: usize) -> String {
    (0..count).map(|n| format!("---\n{}", namespace(&format!("n{n:02}")))).collect()
}

#[test]
fn many_objects_do_not_go_at_one_word() {
    let second = 1000;
    for (before, after, doubted) in [
        (20, namespaces(10), true),
        (20, namespaces(11), false),
        (10, "apiVersion: v1\nkind: ConfigMap\n".to_owned(), true),
        (9, "apiVersion: v1\nkind: ConfigMap\n".to_owned(), false),
        (30, namespaces(15), true),
        (30, namespaces(16), false),
    ] {
        let mut world = World::new();
        world.write("a.yaml", &namespaces(before));
        world.first();
        world.write("a.yaml", &after);
        let gone = |said: String| said.matches('-').count();
        let said = world.finished(&["a.yaml"]);
        if !doubted {
            assert!(gone(said) > 0, "{before} to {after:.20}");
            continue;
        }
        assert_eq!(said, "KeptLastGood", "{before} to {after:.20}");
        assert_eq!(world.again, Some(world.now + DOUBT));
        // Touched, and told again: no new word.
        assert_eq!(world.poll(2 * second), "KeptLastGood");
        assert_eq!(world.finished(&["a.yaml"]), "KeptLastGood");
        assert!(gone(world.poll(second)) > 0, "{before} to {after:.20}: it means it");
        assert_eq!((world.poll(second), world.again), (String::new(), None));
    }
}

#[test]
fn a_file_that_is_written_in_two_steps_loses_nothing() {
    let mut world = World::new();
    world.write("a.yaml", &namespaces(20));
    world.write("b.yaml", &namespace("b"));
    world.first();
    world.write("a.yaml", &namespaces(3));
    assert_eq!(world.finished(&["a.yaml"]), "KeptLastGood");
    // Another half is another state: the time begins anew.
    assert_eq!(world.poll(2900), "KeptLastGood");
    world.write("a.yaml", &namespaces(5));
    assert_eq!(world.finished(&["a.yaml"]), "KeptLastGood");
    assert_eq!(world.poll(2900), "KeptLastGood");
    world.write("a.yaml", &namespaces(21));
    assert_eq!(world.finished(&["a.yaml"]), "+n20");
    // Nothing but comments is nothing.
    for text in ["", "# written by a tool\n", "---\n# a\n--- # b\n\n"] {
        world.write("a.yaml", text);
        world.write("b.yaml", text);
        assert_eq!(world.finished(&["a.yaml", "b.yaml"]), "FileEmpty KeptLastGood FileEmpty KeptLastGood");
        assert_eq!(world.poll(60_000), "FileEmpty KeptLastGood FileEmpty KeptLastGood");
    }
    fs::remove_file(world.path("b.yaml")).unwrap();
    assert_eq!(world.told(&[], &["b.yaml"]), "FileEmpty KeptLastGood");
    assert_eq!(world.poll(1000), "-b FileEmpty KeptLastGood");
}
