use super::*;

const DEFAULTS: &str = r#"
[service]
name = "chat"
tags = ["a", "b"]
[forward]
hold = "2s"
held = 10_000
[limits]
packet = "1 MiB"
[listen]
ws = "0.0.0.0:8000"
tcp = ""
[auth]
jwt_secret = ""
jwt_secret_file = ""
"#;

fn load(file: &str, environment: &[(&str, &str)], overrides: &[(&str, &str)]) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.toml");
    std::fs::write(&path, file).unwrap();
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let environment = owned(environment).into_iter();
    Settings::layered(DEFAULTS, Some(&path), environment, &owned(overrides)).unwrap()
}

const HOLD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);

#[test]
fn the_later_layer_wins() {
    let file = "[forward]\nhold = \"3s\"\nheld = 5";
    let mut settings = load(file, &[("IMAGO_FORWARD__HOLD", "4s")], &[("forward.held", "6")]);
    assert_eq!(settings.duration("forward.hold", HOLD), Duration::from_secs(4));
    assert_eq!(settings.integer("forward.held", 0..=10), 6);
    assert_eq!(settings.text("service.name"), "chat");
    assert_eq!(settings.list("service.tags"), ["a", "b"]);
    assert_eq!(settings.bytes("limits.packet", 1..=2 << 20), 1 << 20);
    assert_eq!(settings.address("listen.tcp"), None);
    assert_eq!(settings.address("listen.ws"), "0.0.0.0:8000".parse().ok());
    settings.finish().unwrap();
}

#[test]
fn all_errors_are_told_at_once_with_key_value_origin_and_range() {
    let file = "[forward]\nhold = \"2h\"\nholt = \"1s\"";
    let mut settings = load(
        file,
        &[("IMAGO_LIMITS__PACKET", "many"), ("IMAGO_HOME", "ignored")],
        &[("listen.ws", "here"), ("forward.held", "-1")],
    );
    settings.duration("forward.hold", HOLD);
    settings.bytes("limits.packet", 1..=100);
    settings.address("listen.ws");
    settings.integer::<u32>("forward.held", 0..=10);
    let text = settings.finish().unwrap_err().to_string();
    for part in [
        "5 errors",
        "forward.holt (from ",
        "did you mean forward.hold?",
        "forward.hold = \"2h\" (from ",
        "from 0s to 1m",
        "limits.packet = \"many\" (from IMAGO_LIMITS__PACKET)",
        "listen.ws = \"here\" (from --set)",
        "forward.held = \"-1\" (from --set): expected a whole number from 0 to 10",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn secrets_come_from_files_or_the_environment_and_are_never_shown() {
    let mut settings = load("", &[("IMAGO_AUTH__JWT_SECRET", "hush-hush")], &[]);
    assert_eq!(settings.secret("auth.jwt_secret", 4), "hush-hush");
    settings.reject("auth.jwt_secret", "is too well known");
    assert!(!format!("{settings:?}").contains("hush"));
    let text = settings.finish().unwrap_err().to_string();
    assert!(!text.contains("hush"), "{text}");

    let settings = load("", &[], &[("auth.jwt_secret", "hush-hush")]);
    let text = settings.finish().unwrap_err().to_string();
    assert!(text.contains("only from a file or the environment"), "{text}");
    assert!(!text.contains("hush"), "{text}");
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "from-a-file\n").unwrap();
    let path = path.to_str().unwrap();
    let mut settings = load("", &[], &[("auth.jwt_secret_file", path)]);
    assert_eq!(settings.secret("auth.jwt_secret", 4), "from-a-file");
    settings.finish().unwrap();
}

#[test]
fn a_missing_or_short_secret_says_how_to_set_it() {
    let mut settings = load("", &[], &[]);
    settings.secret("auth.jwt_secret", 16);
    let text = settings.finish().unwrap_err().to_string();
    assert!(text.contains("IMAGO_AUTH__JWT_SECRET"), "{text}");
    assert!(text.contains("at least 16 bytes, got 0"), "{text}");
}

#[test]
fn a_file_that_is_no_toml_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broken.toml");
    std::fs::write(&path, "[forward\nhold = 1").unwrap();
    let error = Settings::layered(DEFAULTS, Some(&path), std::iter::empty(), &[]).unwrap_err();
    assert!(error.to_string().contains("broken.toml"), "{error}");
    assert!(error.to_string().contains("line 1"), "{error}");
}
