//! The configuration loader.
//!
//! - Whatever the file and the variables say, it ends in a configuration or in mistakes that name a place.
//! - A configuration that is printed and loaded again is the same configuration.
//!
//! The body is the file; behind a NUL follow lines of environment variables.

use fanwire::node::config::{DEVELOPMENT_SECRET, Loaded, Mistake, Origin, Sources, load, print, summary};

use super::input::Input;

/// Name of the file in mistakes.
pub const NAME: &str = "f.toml";

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let (file, environment) = match input.body.iter().position(|byte| *byte == 0) {
        Some(at) => (&input.body[..at], &input.body[at + 1..]),
        None => (input.body, &[][..]),
    };
    let environment = String::from_utf8_lossy(environment);
    let pairs = environment.lines().filter_map(|line| line.split_once('='));
    let sources = Sources {
        file: Some((NAME, file)),
        environment: pairs.map(|(name, value)| (name.into(), value.into())).collect(),
        flags: Vec::new(),
        processors: input.pick(0, &[2, 0, 1, 100_000]),
    };
    match load(&sources) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| names_a_place(warning, file));
            let _ = summary(&loaded.config);
            again(&loaded);
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            assert!(mistakes.is_sorted(), "mistakes are not in order");
            mistakes.iter().for_each(|mistake| names_a_place(mistake, file));
        }
    }
}

/// What is printed is loaded as the same configuration, once the secrets are put in.
pub fn again(loaded: &Loaded) {
    let config = &loaded.config;
    let mut printed = print(loaded);
    let mut put = |key: &str, value: Option<String>| {
        let text = value.map_or(format!("# {key} was not set"), |value| format!("{key} = {value} #"));
        assert!(printed.contains(&format!("# {key} is not set")), "{key} is shown");
        printed = printed.replacen(&format!("# {key} is not set"), &text, 1);
    };
    for app in config.apps.iter().filter(|app| app.secret != DEVELOPMENT_SECRET) {
        put("secret", Some(quoted(&app.secret)));
    }
    for grant in &config.grants {
        let keys: Vec<String> = grant.keys.iter().map(|key| quoted(key)).collect();
        put("keys", Some(format!("[{}]", keys.join(","))));
        put("jwt_secret", grant.jwt_secret.as_deref().map(quoted));
    }
    let sources = Sources { file: Some((NAME, printed.as_bytes())), ..Sources::default() };
    match load(&sources) {
        Ok(again) => assert!(again.config == *config, "another configuration:\n{printed}"),
        Err(mistakes) => panic!("what was printed is refused: {}\n{printed}", mistakes[0]),
    }
}

/// A TOML string of escapes alone.
pub fn quoted(text: &str) -> String {
    let letters: String = text.chars().map(|letter| format!("\\U{:08X}", u32::from(letter))).collect();
    format!("\"{letters}\"")
}

pub fn names_a_place(mistake: &Mistake, file: &[u8]) {
    assert!(!mistake.message.is_empty());
    let shown = mistake.to_string();
    // Line ends stand in the messages of the pattern compiler, which shows the pattern.
    let raw = |letter: char| letter.is_control() && letter != '\n';
    assert!(!mistake.message.contains(raw), "{shown:?}");
    if let Origin::File(name, place) = &mistake.origin {
        let lines = file.iter().filter(|byte| **byte == b'\n').count() + 1;
        assert!(name == NAME && (1..=lines).contains(&place.line) && place.column >= 1, "{shown}");
        let line = file.split(|byte| *byte == b'\n').nth(place.line - 1).unwrap_or_default();
        assert!(place.column <= line.len() + 1, "{shown}: beyond the line");
    }
}
