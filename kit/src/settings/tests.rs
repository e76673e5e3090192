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

const PROGRAMS: &[Program] = &[
    Program { name: "gateway", defaults: "[auth]\nlogin_timeout = \"10s\"" },
    Program { name: "logic", defaults: "[store]\nurl = \"\"\nretention = \"15d\"" },
];

fn load(file: &str, environment: &[(&str, &str)], overrides: &[(&str, &str)]) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.toml");
    std::fs::write(&path, file).unwrap();
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let environment = owned(environment).into_iter();
    Settings::layered(DEFAULTS, PROGRAMS, Some(&path), environment, &owned(overrides)).unwrap()
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
    assert_eq!(settings.secret("auth.jwt_secret", 4).expose(), "hush-hush");
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
    assert_eq!(settings.secret("auth.jwt_secret", 4).expose(), "from-a-file");
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
    let error =
        Settings::layered(DEFAULTS, PROGRAMS, Some(&path), std::iter::empty(), &[]).unwrap_err();
    assert!(error.to_string().contains("broken.toml"), "{error}");
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn a_syntax_error_does_not_show_the_line_because_it_may_hold_a_secret() {
    let text = "[auth]\njwt_secret = \"hush-hush\n";
    let error = source::read_toml(text, &Origin::File("x.toml".into())).unwrap_err().to_string();
    assert!(error.contains("line 2") && !error.contains("hush"), "{error}");
}

#[test]
fn an_error_of_syntax_or_of_a_number_tells_its_place() {
    for (text, place) in [
        ("[auth]\nkey = \"a", "line 2, column"),
        ("a = 1\n\nnumber = 9223372036854775808", "line 3, column 10: expected an integer"),
        ("[a]\nnumbers = [1, 1e999]", "line 2, column 15: expected a number"),
    ] {
        let error = source::read_toml(text, &Origin::File("x.toml".into())).unwrap_err();
        assert!(error.to_string().contains(&format!("x.toml: not TOML: {place}")), "{error}");
    }
}

#[test]
fn values_are_read_in_any_form_that_toml_has() {
    let text = "a.b = 0x1_0\n'a.c' = 1_000\nd = 1.50\ne = true\nf = [1, 'x', 2.5]\n\
                g = 1979-05-27\nh = -0\ni = inf\n[j]\n[k]\nl = '''m'''\nn = [{}]";
    let layer = source::read_toml(text, &Origin::Default).unwrap();
    let texts: Vec<(&str, &str)> =
        layer.iter().map(|(key, given)| (key.as_str(), given.text.as_str())).collect();
    let expected = [
        ("a.b", "16"),
        ("a.c", "1000"),
        ("d", "1.5"),
        ("e", "true"),
        ("f", "1;x;2.5"),
        ("g", "1979-05-27"),
        ("h", "0"),
        ("i", "inf"),
        ("j", ""),
        ("k.l", "m"),
        ("k.n", ""),
    ];
    assert_eq!(texts, expected);
    assert_eq!(layer["j"].shape, source::Shape::EmptySection);
    assert_eq!(layer["k.n"].shape, source::Shape::Nested);
}

#[test]
fn the_later_of_a_secret_and_its_file_wins_and_both_in_one_layer_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "from-a-file\n").unwrap();
    let path = path.to_str().unwrap();
    let file = format!("[auth]\njwt_secret_file = {path:?}");

    let mut settings = load(&file, &[("IMAGO_AUTH__JWT_SECRET", "from-outside")], &[]);
    assert_eq!(settings.secret("auth.jwt_secret", 4).expose(), "from-outside");
    settings.finish().unwrap();

    let mut settings = load(&format!("{file}\njwt_secret = \"inline\""), &[], &[]);
    settings.secret("auth.jwt_secret", 4);
    let text = settings.finish().unwrap_err().to_string();
    assert!(text.contains("not both") && !text.contains("inline"), "{text}");
}

#[test]
fn a_secret_file_that_cannot_be_read_is_one_error() {
    let mut settings = load("", &[("IMAGO_AUTH__JWT_SECRET_FILE", "/nowhere/at/all")], &[]);
    settings.secret("auth.jwt_secret", 16);
    let text = settings.finish().unwrap_err().to_string();
    assert!(text.starts_with("1 error ") && text.contains("/nowhere/at/all"), "{text}");
}

#[test]
fn an_optional_secret_may_be_left_out_but_not_be_short() {
    assert!(load("", &[], &[]).optional_secret("auth.jwt_secret", 8).is_none());
    let mut settings = load("", &[("IMAGO_AUTH__JWT_SECRET", "short")], &[]);
    settings.optional_secret("auth.jwt_secret", 8);
    let text = settings.finish().unwrap_err().to_string();
    assert!(text.contains("(from IMAGO_AUTH__JWT_SECRET): expected at least 8 bytes"), "{text}");
}

#[test]
fn a_token_in_a_url_is_a_secret_too() {
    let url = "consul://h:8500?token=hush";
    let mut settings = load("", &[("IMAGO_SERVICE__NAME", url)], &[("service.name", url)]);
    settings.reject("service.name", "is no good");
    let text = settings.finish().unwrap_err().to_string();
    assert!(text.contains("2 errors") && text.contains("only from a file"), "{text}");
    assert!(text.contains("consul://h:8500?token=(hidden)") && !text.contains("hush"), "{text}");
}

#[test]
fn lists_sections_and_values_are_not_mixed_up() {
    let file = "listen = 1\n[forward]\nhold = [\"1s\"]\n[service]\ntags = [[\"a\"]]\n[service.name]\n[limits]\n[nonsense]";
    let settings = load(file, &[("IMAGO_SERVICE__TAGS", " a; b ;")], &[]);
    let text = settings.finish().unwrap_err().to_string();
    for part in [
        "5 errors",
        "expected a section with keys of its own, [listen]",
        "expected one value, got a list",
        "expected a list of texts, got lists",
        "expected a value, got a section",
        "nonsense (from ",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn a_list_from_the_environment_is_separated_by_semicolons() {
    let mut settings = load("", &[("IMAGO_SERVICE__TAGS", " a; b,c ;")], &[]);
    assert_eq!(settings.list("service.tags"), ["a", "b,c"]);
    settings.finish().unwrap();
}

#[test]
fn what_surrounds_a_value_is_no_part_of_it_wherever_it_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "\u{feff}hush-hush\r\n").unwrap();
    let secret_file = format!("\u{feff}[auth]\r\njwt_secret_file = \"{}\\n\"", path.display());
    for (file, environment) in [
        ("\u{feff}[auth]\r\njwt_secret = \"hush-hush\\r\\n\"", &[][..]),
        ("", &[("IMAGO_AUTH__JWT_SECRET", "\u{feff}hush-hush\r\n")]),
        (&secret_file, &[]),
    ] {
        let mut settings = load(file, environment, &[("service.name", " talk\n")]);
        assert_eq!(settings.secret("auth.jwt_secret", 4).expose(), "hush-hush", "{file}");
        assert_eq!(settings.text("service.name"), "talk");
        settings.finish().unwrap();
    }
    let mut settings = load("[service]\ntags = [\" a\\n\", \"b\"]", &[], &[]);
    assert_eq!(settings.list("service.tags"), ["a", "b"]);
}

#[test]
fn control_characters_within_a_value_are_refused_without_showing_it() {
    let settings = load(
        "[auth]\njwt_secret = \"hush\\u0000hush\"\n[service]\ntags = [\"a\", \"hush\\u001bhush\"]",
        &[("IMAGO_LISTEN__WS", "hush\nhush")],
        &[("service.name", "hush\thush")],
    );
    let text = settings.finish().unwrap_err().to_string();
    assert!(text.starts_with("4 errors") && !text.contains("hush"), "{text}");
    assert!(text.contains("IMAGO_LISTEN__WS): expected one line"), "{text}");
}

#[test]
fn secret_files_that_are_none_are_named_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let at = path.to_str().unwrap();
    let utf16: Vec<u8> = "\u{feff}hush-hush".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, why) in [
        (&utf16[..], "got UTF-16"),
        (b"\n", "got an empty one"),
        (b"hush\nhush", "expected one line"),
        (&[b'x'; 70_000], "at most 65536 bytes"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let mut settings = load("", &[("IMAGO_AUTH__JWT_SECRET_FILE", at)], &[]);
        settings.secret("auth.jwt_secret", 4);
        let text = settings.finish().unwrap_err().to_string();
        assert!(text.starts_with("1 error ") && text.contains(at) && text.contains(why), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
    let folder = directory.path().to_str().unwrap();
    let mut settings = load("", &[("IMAGO_AUTH__JWT_SECRET_FILE", folder)], &[]);
    settings.secret("auth.jwt_secret", 4);
    assert!(settings.finish().unwrap_err().to_string().contains("got a folder"));
}

#[test]
fn configuration_files_that_are_none_are_named_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("own.toml");
    let utf16: Vec<u8> = "\u{feff}[auth]".encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (bytes, why) in [
        (&utf16[..], "got UTF-16"),
        (b"[auth]\0", "NUL byte at byte 7"),
        (&vec![b'#'; 2 << 20], "at most 1048576 bytes"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Settings::layered(DEFAULTS, PROGRAMS, Some(&path), std::iter::empty(), &[])
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("own.toml: expected") && text.contains(why), "{text}");
    }
}

#[test]
fn no_error_of_a_file_that_is_no_toml_shows_what_is_in_it() {
    for text in [
        "[auth]\njwt_secret = hush",
        "[auth]\njwt_secret = 'hush",
        "[auth]\njwt_secret = \"\"\"hush",
        "[auth]\njwt_secret = \"a\\hush\"",
        "[auth]\njwt_secret = [\"hush\"",
        "[auth]\njwt_secret: hush",
        "hush",
        "hush = 1\nhush = 2",
        "[hush]\n[hush]",
        "[hush.hush",
        "hush.hush = 1\n[hush]\nhush = 2",
        "jwt_secret = hush://hush:hush@hush?hush=hush",
        "jwt_secret = 1979-hush",
        "jwt_secret = 0xhush",
        "hush hush = 1",
        "\"hush\nhush\" = 1",
    ] {
        let origin = Origin::File("x.toml".into());
        let error = source::read_toml(text, &origin).unwrap_err().to_string();
        assert!(error.contains("x.toml: not TOML: ") && error.contains("line "), "{error}");
        assert!(!error.contains("hush"), "{text}: {error}");
    }
}

#[test]
fn keys_of_other_programs_are_ignored_in_the_environment_alone() {
    let environment = [
        ("IMAGO_STORE__URL", "postgres://imago:hush@h/db"),
        ("IMAGO_AUTH__LOGIN_TIMEOUT", "never"),
        ("IMAGO_LIMITS__PACKET", "2 MiB"),
    ];
    let mut settings = load("", &environment, &[]);
    assert_eq!(settings.bytes("limits.packet", 1..=4 << 20), 2 << 20);
    settings.finish().unwrap();

    let file = "[store]\nurl = \"postgres://imago:hush@h/db\"";
    let settings = load(file, &[], &[("auth.login_timeout", "1s")]);
    let text = settings.finish().unwrap_err().to_string();
    assert!(text.contains("store.url (from ") && text.contains("this is a key of logic"), "{text}");
    assert!(text.contains("auth.login_timeout (from --set): this is a key of gateway"), "{text}");
    assert!(!text.contains("hush"), "{text}");
}

#[test]
fn a_variable_of_no_program_is_an_error_with_a_hint() {
    let environment =
        [("IMAGO_STORE__RETENTIN", "1d"), ("IMAGO_SERVICE__NAM", "x"), ("IMAGO_NO__WAY", "hush")];
    let text = load("", &environment, &[]).finish().unwrap_err().to_string();
    assert!(text.starts_with("3 errors") && !text.contains("hush"), "{text}");
    assert!(text.contains("did you mean store.retention of logic?"), "{text}");
    assert!(text.contains("did you mean service.name?"), "{text}");
}
