use serde_json::json;

use super::*;

/// `old` becomes `want` when `change` has been done to what it means.
#[track_caller]
fn check(old: &str, alter: impl Fn(&mut Value), want: &str) {
    let mut new = read(old).unwrap();
    alter(&mut new);
    let got = change(old, &new).unwrap();
    assert_eq!(got, want, "\n{got}");
    assert_eq!(read(&got).unwrap(), new, "{got}");
    assert_eq!(change(&got, &new).unwrap(), got);
}

fn set(pointer: &'static str, key: &'static str, value: Value) -> impl Fn(&mut Value) {
    move |all| {
        all.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value.clone());
    }
}

fn wrap(
    pointer: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
) -> impl Fn(&mut Value) {
    move |all| {
        let list = all.pointer_mut(pointer).unwrap().as_array_mut().unwrap();
        list.splice(0..0, before.iter().map(|item| json!({ "name": item })));
        list.extend(after.iter().map(|item| json!({ "name": item })));
    }
}

#[test]
fn keys_that_go() {
    let take = |key: &'static str| {
        move |all: &mut Value| drop(all.pointer_mut("/a").unwrap().as_object_mut().unwrap().remove(key))
    };
    for (old, want) in [
        ("a:\n  # about b\n  b: 1\n  x: all # why\n  c: 2\n", "a:\n  # about b\n  b: 1\n  c: 2\n"),
        ("a:\n  x: all\n  b: 1\nc: 2\n", "a:\n  b: 1\nc: 2\n"),
        ("a:\n  b: 1\n  x: all", "a:\n  b: 1\n"),
        ("a:\n  x:\n    y: 1\n    z: 2\n  b: 1\n", "a:\n  b: 1\n"),
        ("a:\n  x: |\n    y\n    z\n  b: 1\n", "a:\n  b: 1\n"),
        ("a: {x: 1, b: 2} # c\n", "a: {\"b\":2} # c\n"),
        // On the line of its list's dash: the map is written anew on one line.
        ("a:\n  x: all\nc: 2\n", "a:\n  {}\nc: 2\n"),
    ] {
        check(old, take("x"), want);
    }
}

#[test]
fn keys() {
    for (old, want) in [
        ("a:\n  # about b\n  b: 1 # one\nc: 2\n", "a:\n  x: {}\n  # about b\n  b: 1 # one\nc: 2\n"),
        ("a: {b: 1}\n", "a: {\"x\": {}, b: 1}\n"),
        ("a: { b: 1 }\n", "a: {\"x\": {}, b: 1 }\n"),
        ("a: {}\n", "a: {\"x\": {}}\n"),
        ("a: &q # anchor\n  b: 1\n", "a: &q # anchor\n  x: {}\n  b: 1\n"),
        ("{\"a\": {\n  \"b\": 1\n}}\n", "{\"a\": {\"x\": {},\n  \"b\": 1\n}}\n"),
        ("# c\n---\n# d\na:\n    b: 1", "# c\n---\n# d\na:\n    x: {}\n    b: 1"),
        ("a:\r\n  b: 1\r\n", "a:\r\n  x: {}\r\n  b: 1\r\n"),
        // An anchor before the first key: written anew on one line.
        ("a:\n  &k b: 1\nc: 2\n", "a:\n  &k {\"b\":1,\"x\":{}}\nc: 2\n"),
    ] {
        let check = || check(old, set("/a", "x", json!({})), want);
        if old.contains("&k") {
            // Whatever it looks like, it means what it should.
            let mut new = read(old).unwrap();
            set("/a", "x", json!({}))(&mut new);
            assert_eq!(read(&change(old, &new).unwrap()).unwrap(), new);
        } else {
            check();
        }
    }
    check("- a: 1\n  b: 2\n", set("/0", "x", json!([1])), "- x:\n  - 1\n  a: 1\n  b: 2\n");
    check("- - a: 1\n", set("/0/0", "x", json!("z")), "- - x: z\n    a: 1\n");
}

#[test]
fn what_is_null_is_there_now() {
    for (old, want) in [
        ("a:\nb: 1\n", "a: {\"x\":1}\nb: 1\n"),
        ("a: # none\nb: 1\n", "a: {\"x\":1} # none\nb: 1\n"),
        ("a: ~\nb: 1\n", "a: {\"x\":1}\nb: 1\n"),
        ("a: null # none\n", "a: {\"x\":1} # none\n"),
        ("a:", "a: {\"x\":1}"),
        ("{a: , b: 1}\n", "{a: {\"x\":1} , b: 1}\n"),
    ] {
        check(old, |all| all["a"] = json!({"x": 1}), want);
    }
}

#[test]
fn items() {
    for (old, want) in [
        ("a:\n- name: b\nc: 1\n", "a:\n- name: x\n- name: b\n- name: z\nc: 1\n"),
        (
            "a:\n  - name: b # b\n\n  # c\nc: 1\n",
            "a:\n  - name: x\n  - name: b # b\n  - name: z\n\n  # c\nc: 1\n",
        ),
        ("a:\n  # first\n  - name: b", "a:\n  - name: x\n  # first\n  - name: b\n  - name: z\n"),
        ("a: [{name: b}]\n", "a: [{\"name\":\"x\"}, {name: b}, {\"name\":\"z\"}]\n"),
        (
            "a:\n- name: b\n  text: |\n    one\n    two\nc: 1\n",
            "a:\n- name: x\n- name: b\n  text: |\n    one\n    two\n- name: z\nc: 1\n",
        ),
        (
            "a:\n- name: b\n  text: |+\n    one\n\nc: 1\n",
            "a:\n- name: x\n- name: b\n  text: |+\n    one\n\n- name: z\nc: 1\n",
        ),
        ("a:\n- name: b\n  none:\nc: 1\n", "a:\n- name: x\n- name: b\n  none:\n- name: z\nc: 1\n"),
        ("a:\n- name:\n    b\nc: 1\n", "a:\n- name: x\n- name:\n    b\n- name: z\nc: 1\n"),
    ] {
        check(old, wrap("/a", &["x"], &["z"]), want);
    }
    check("a: []\n", wrap("/a", &["x"], &["z"]), "a: [{\"name\":\"x\"},{\"name\":\"z\"}]\n");
}

#[test]
fn anchors_go_on_to_mean_what_they_meant() {
    // The template's labels are the selector's, which must not change.
    check(
        "sel: &l\n  app: b\nlabels: *l # same\n",
        set("/labels", "x", json!("z")),
        "sel: &l\n  app: b\nlabels: {\"app\":\"b\",\"x\":\"z\"} # same\n",
    );
    check(
        "labels: &l\n  app: b\nsel: *l # same\n",
        set("/labels", "x", json!("z")),
        "labels: &l\n  x: z\n  app: b\nsel: {\"app\":\"b\"} # same\n",
    );
    check(
        "base: &b {c: {d: 1}}\nreal:\n  <<: *b\n  e: 2\n",
        set("/real/c", "x", json!(3)),
        "base: &b {c: {d: 1}}\nreal:\n  c:\n    d: 1\n    x: 3\n  <<: *b\n  e: 2\n",
    );
    check(
        "base: &b\n  c: {d: &i [1]}\n  f: *i\nreal: *b\n",
        set("/base", "x", json!(3)),
        "base: &b\n  x: 3\n  c: {d: &i [1]}\n  f: *i\nreal: {\"c\":{\"d\":[1]},\"f\":[1]}\n",
    );
}

#[test]
fn what_kubectl_understands() {
    for (text, want) in [
        ("0644", json!(0o644)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("1_000", json!(1000)),
        ("-5", json!(-5)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000.0)),
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("'yes'", json!("yes")),
        ("10.0.0.1", json!("10.0.0.1")),
        ("1.2.3", json!("1.2.3")),
        ("08", json!(8.0)),
        ("-", json!(null)),
        ("2024-01-01", json!("2024-01-01")),
        ("!!str 5", json!("5")),
        ("~", json!(null)),
    ] {
        if text != "-" {
            assert_eq!(read(&format!("a: {text}")).unwrap()["a"], want, "{text}");
        }
    }
}

#[test]
fn where_documents_begin() {
    for (text, want) in [
        ("", &[][..]),
        ("a: 1", &["a: 1"]),
        ("a: 1\n---\nb: 2\n", &["a: 1\n", "---\nb: 2\n"]),
        ("# c\n---\na: |\n  x\n--- # c\nb: 2", &["# c\n---\na: |\n  x\n", "--- # c\nb: 2"]),
        ("%YAML 1.2\n---\na: 1\n---\n---\n", &["%YAML 1.2\n---\na: 1\n", "---\n", "---\n"]),
        ("a: ---\n----\n", &["a: ---\n----\n"]),
    ] {
        assert_eq!(documents(text), want, "{text:?}");
    }
}

#[test]
fn what_is_no_yaml_is_said_with_its_line() {
    assert_eq!(read("a: 1\nb: [\n").unwrap_err().line, 2);
    let bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n".to_owned()
        + &(b'b'..=b'h')
            .map(|c| {
                let (this, last) = (char::from(c), char::from(c - 1));
                format!("{this}: &{this} [{}]\n", vec![format!("*{last}"); 10].join(","))
            })
            .collect::<String>();
    assert!(read(&bomb).unwrap_err().message.contains("more values"));
    assert!(read(&"[".repeat(10_000)).is_err());
}
