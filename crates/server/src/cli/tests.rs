use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

fn verbs() -> Vec<clap::Command> {
    let mut cli = Cli::command();
    // So that arguments know their variables and values.
    cli.build();
    cli.get_subcommands().filter(|verb| verb.get_name() != "help").cloned().collect()
}

/// What a person can say to a verb, but for what every verb takes.
fn arguments(verb: &clap::Command) -> impl Iterator<Item = &clap::Arg> {
    verb.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
}

/// Every option is an environment variable too.
#[test]
fn every_option_has_a_variable() {
    for verb in verbs() {
        for arg in arguments(&verb).filter(|arg| arg.get_long().is_some()) {
            let variable = arg.get_env().and_then(|v| v.to_str()).unwrap_or_default();
            assert!(variable.starts_with("UMBRA_"), "{} {arg}", verb.get_name());
        }
    }
}

/// The tables of all options, as `docs/options.md` has them.
fn tables() -> String {
    let mut text = String::new();
    for verb in verbs() {
        let of_serve = verb.get_name() == "serve";
        let mut rows = String::new();
        for arg in arguments(&verb) {
            let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
            let value = value.filter(|_| arg.get_action().takes_values()).unwrap_or_default();
            let name = match (arg.get_short(), arg.get_long()) {
                (Some(short), Some(long)) => format!("-{short}, --{long} {value}"),
                (_, Some(long)) if arg.is_require_equals_set() => format!("--{long}[={value}]"),
                (_, Some(long)) => format!("--{long} {value}"),
                (_, None) => value.to_owned(),
            };
            let variable = arg.get_env().and_then(|v| v.to_str());
            let mut cells =
                vec![format!("`{}`", name.trim_end()), variable.map_or("".to_owned(), |v| format!("`{v}`"))];
            if of_serve {
                let key = options::declared().iter().find(|it| it.get_id() == arg.get_id()).map(options::key);
                cells.push(key.map_or("".to_owned(), |key| format!("`{key}`")));
            }
            let mut words = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let default: Vec<_> =
                arg.get_default_values().iter().filter_map(|value| value.to_str()).collect();
            if !default.is_empty() && arg.get_action().takes_values() {
                words += &format!(" [default: {}]", default.join(","));
            }
            cells.push(words.replace('|', "\\|").replace('*', "\\*"));
            rows += &format!("| {} |\n", cells.join(" | "));
        }
        if rows.is_empty() {
            continue;
        }
        let head = if of_serve {
            "| option | variable | key | |\n|---|---|---|---|\n"
        } else {
            "| option | variable | |\n|---|---|---|\n"
        };
        text += &format!("\n### umbra {}\n\n{head}{rows}", verb.get_name());
    }
    text
}

/// `UPDATE_GOLDEN=1` writes the tables anew.
#[test]
fn the_pages_have_every_verb_and_every_option() {
    const BEGIN: &str = "<!-- These tables are made from the program by `make golden`. -->\n";
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let path = docs.join("options.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, made) = page.split_once(BEGIN).expect("the tables");
    let want = tables();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{want}")).unwrap();
    } else {
        assert!(made == want, "docs/options.md is out of date: make golden");
    }
    let by_hand = std::fs::read_to_string(docs.join("cli.md")).unwrap();
    let table = by_hand.split("| verb | does |").nth(1).unwrap_or_default();
    let table: String = table.lines().take_while(|line| line.is_empty() || line.starts_with('|')).collect();
    let shown: Vec<_> =
        table.split("`umbra ").skip(1).filter_map(|rest| rest.split([' ', '`']).next()).collect();
    let mut verbs: Vec<String> = verbs().iter().map(|verb| verb.get_name().to_owned()).collect();
    verbs.sort();
    let mut names: Vec<_> = shown.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(names, verbs, "the verbs of docs/cli.md, and those that there are");
    // What the text names is there.
    let known: Vec<String> = self::verbs()
        .iter()
        .flat_map(|verb| {
            arguments(verb).filter_map(clap::Arg::get_long).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    for word in by_hand.split("--").skip(1) {
        let flag: String = word.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
        let flag = flag.trim_matches('-').to_owned();
        // Of Envoy, of kubectl, of every verb; or a line of hyphens.
        let others = ["service-node", "selector", "server-side", "help", ""];
        assert!(known.contains(&flag) || others.contains(&flag.as_str()), "docs/cli.md names --{flag}");
    }
}
