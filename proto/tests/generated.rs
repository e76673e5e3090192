//! The messages in `src/generated` are those of the `.proto` files.

use std::{env, fs, path::Path};

/// Set to any value, this writes them anew: after a change of a `.proto` file.
const WRITE: &str = "IMAGO_WRITE_GENERATED";

#[test]
fn the_generated_messages_are_those_of_the_proto_files() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = crate_root.join("src/generated");
    let made = tempfile::tempdir().unwrap();
    let descriptors =
        protox::compile(["client.proto", "link.proto"], [crate_root.join("proto")]).unwrap();
    prost_build::Config::new().out_dir(made.path()).compile_fds(descriptors).unwrap();
    for name in ["imago.client.v1.rs", "imago.link.v1.rs"] {
        let text = fs::read_to_string(made.path().join(name)).unwrap();
        if env::var_os(WRITE).is_some() {
            fs::write(kept.join(name), &text).unwrap();
        }
        let is_same = fs::read_to_string(kept.join(name)).unwrap() == text;
        assert!(is_same, "{name} is of other .proto files: {WRITE}=1 cargo test -p imago-proto");
    }
    assert_eq!(fs::read_dir(&kept).unwrap().count(), fs::read_dir(made.path()).unwrap().count());
}
