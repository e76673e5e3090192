//! The properties of the fuzz targets hold for their corpus, and for some thousand mutations of it.
//!
//! `UPDATE_CORPUS=1 cargo test -p imago-tests --test fuzz_smoke` writes the seeds into `fuzz/corpus`.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use imago_proto::{
    Frame, LinkFrame, Opcode, SessionBatch,
    link::{Forward, Given, Hello, Place, Push, Reply, Session, SessionsUp, frame::Kind},
    tcp, ws,
};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

#[path = "../../fuzz/src/lib.rs"]
pub mod fuzz;

/// Mutations of each target.
const MUTATIONS: u64 = 3000;

type Corpus = BTreeMap<String, Vec<u8>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn corpus_of(target: &str) -> Corpus {
    let folder = root().join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect()
}

/// Runs a target; a panic names the input.
fn run(name: &str, target: impl Fn(&[u8]), what: &str, data: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(data))).is_err() {
        let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{name} fails for {what}: {hex}");
    }
}

/// Runs a target on its corpus and on `mutations` mutations of it.
fn smoke(name: &str, target: impl Fn(&[u8]), corpus: &Corpus, mutations: u64) {
    let seeds: Vec<&Vec<u8>> = corpus.values().collect();
    run(name, &target, "nothing", &[]);
    for (file, data) in corpus {
        run(name, &target, file, data);
    }
    for number in 0..mutations {
        let mut random = StdRng::seed_from_u64(number);
        let data = mutated(&seeds, &mut random);
        run(name, &target, &format!("mutation {number}"), &data);
    }
}

fn mutated(seeds: &[&Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut data = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=data.len());
        let end = random.random_range(at..=data.len()).min(at + 16);
        match random.random_range(0..8) {
            0 if at < data.len() => data[at] ^= 1 << random.random_range(0..8),
            1 if at < data.len() => {
                data[at] = [0, 1, 0x7e, 0x7f, 0x80, 0xfe, 0xff][number(random, 7)]
            }
            2 => data.insert(at, random.next_u32() as u8),
            3 => drop(data.drain(at..end)),
            4 => drop(data.splice(at..at, data[at..end].to_vec())),
            5 => data.truncate(at),
            // A length.
            6 => {
                let length = [0, 4, 125, 126, 200, 201, 65_536, u32::MAX][number(random, 8)];
                let end = data.len().min(at + 4);
                data.splice(at..end, u32::to_be_bytes(length));
            }
            _ => data.extend_from_slice(seeds[number(random, seeds.len())]),
        }
    }
    data
}

fn number(random: &mut StdRng, below: usize) -> usize {
    random.random_range(0..below)
}

#[test]
fn frames_of_clients_keep_their_properties() {
    smoke("ws", fuzz::ws, &corpus_of("ws"), MUTATIONS);
    smoke("tcp", fuzz::tcp, &corpus_of("tcp"), MUTATIONS);
    smoke("packet", fuzz::packet, &corpus_of("packet"), MUTATIONS);
}

#[test]
fn frames_of_links_keep_their_properties() {
    smoke("link", fuzz::link, &corpus_of("link"), MUTATIONS);
    smoke("session_batch", fuzz::session_batch, &corpus_of("session_batch"), MUTATIONS);
}

#[test]
fn texts_of_configurations_keep_their_properties() {
    // Each reads five files.
    smoke("settings", fuzz::settings, &corpus_of("settings"), MUTATIONS / 3);
}

#[test]
fn a_fault_that_takes_a_mutation_is_found() {
    let large = |data: &[u8]| {
        let length = data.get(1..5).map(|length| u32::from_be_bytes(length.try_into().unwrap()));
        assert!(length.is_none_or(|length| length < 1 << 16), "a length is not checked");
    };
    let found = catch_unwind(|| smoke("planted", large, &corpus_of("tcp"), MUTATIONS));
    let why = found.unwrap_err().downcast::<String>().unwrap();
    assert!(why.contains("planted fails for mutation"), "{why}");
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    assert_eq!(manifest.matches("[[bin]]").count(), fuzz::TARGETS.len());
    for (name, _) in fuzz::TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        let program = fs::read_to_string(root().join(format!("fuzz/fuzz_targets/{name}.rs")));
        assert!(program.unwrap().contains(&format!("imago_fuzz::{name}(data)")), "{name}");
    }
}

#[test]
fn the_corpus_holds_the_vectors_of_the_wire() {
    for (target, seeds) in seeds() {
        let folder = root().join("fuzz/corpus").join(target);
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            for (name, data) in &seeds {
                fs::write(folder.join(name), data).unwrap();
            }
        }
        let corpus = corpus_of(target);
        for (name, data) in seeds {
            assert!(corpus.get(&name) == Some(&data), "{target}/{name}: run with UPDATE_CORPUS=1");
        }
    }
}

/// The seeds of each target.
fn seeds() -> BTreeMap<&'static str, Corpus> {
    let vectors = vectors();
    let is_packet = |data: &[u8]| data.starts_with(&[0xc3]);
    let packets: Corpus = vectors
        .iter()
        .filter(|(_, data)| is_packet(data))
        .map(|(n, d)| (n.clone(), d.clone()))
        .collect();
    assert!(packets.len() >= 15);
    let of = |prefix: &str| {
        let these = vectors.iter().filter(|(name, _)| name.contains(prefix));
        these.map(|(name, data)| (name.clone(), data.clone())).collect::<Corpus>()
    };
    let (mut web, mut plain) = (of("websocket"), of("tcp-"));
    assert!(web.len() == 1 && plain.len() == 3);
    for (name, packet) in &packets {
        let frame = Frame::binary(Bytes::copy_from_slice(packet));
        let [mut pushed, mut sent, mut on_tcp] = std::array::from_fn(|_| BytesMut::new());
        ws::encode(&frame, &mut pushed);
        ws::encode_masked(&frame, [1, 2, 3, 4], &mut sent);
        tcp::encode(&frame, &mut on_tcp).unwrap();
        web.insert(format!("from-server-{name}"), pushed.to_vec());
        web.insert(format!("from-client-{name}"), sent.to_vec());
        plain.insert(name.clone(), on_tcp.to_vec());
    }
    let mut closing = BytesMut::new();
    let close = ws::close_payload(4401, "the token has expired");
    ws::encode(&Frame { opcode: Opcode::Close, payload: close }, &mut closing);
    web.insert("close".to_owned(), closing.to_vec());
    web.insert("fragments".to_owned(), vec![0x02, 1, 7, 0x89, 0, 0x00, 1, 8, 0x80, 1, 9]);
    let long = [&[0x02, 100][..], &[1; 100], &[0x80, 99], &[2; 99]].concat();
    web.insert("long-fragments".to_owned(), long);
    BTreeMap::from([
        ("ws", web),
        ("tcp", plain),
        ("packet", packets),
        ("link", link_frames()),
        ("session_batch", session_batches()),
        ("settings", texts()),
    ])
}

/// The vectors of docs/wire.md, "Test vectors".
fn vectors() -> Corpus {
    let page = fs::read_to_string(root().join("docs/wire.md")).unwrap();
    let (_, table) = page.split_once("<!-- begin vectors -->").unwrap();
    let (table, _) = table.split_once("<!-- end vectors -->").unwrap();
    let rows = table.lines().filter(|row| row.ends_with("` |"));
    let vector = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let words = cells[0].to_lowercase();
        let words: Vec<&str> =
            words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        (words.join("-"), unhex(cells[1].trim_matches('`')))
    };
    rows.map(vector).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn sessions() -> [Session; 3] {
    let session = |id, account: &str, channel_id: &str| Session {
        id,
        account: account.into(),
        channel_id: channel_id.into(),
        app: "chat".into(),
        device: "phone".into(),
        login_time: 1_700_000_000_000_000_000,
        tags: vec!["web".into()],
        remote: "192.0.2.1:5000".into(),
        order: (1_700_000_000_000 << 16) + 3,
        ..Session::default()
    };
    [
        session(1, "ann", "gate_ann_0123456789abcdef"),
        session(300, "bob", "another id"),
        Session {
            age: 5,
            order: 1 << 60,
            login_time: -1,
            replaces: "gate_zoé_1".into(),
            ..session(u64::MAX, "zoé", "")
        },
    ]
}

fn session_batches() -> Corpus {
    let batch = |sessions: &[Session]| {
        let mut batch = SessionBatch::new("gate");
        sessions.iter().for_each(|session| batch.push(session));
        batch.take().bytes.to_vec()
    };
    let sessions = sessions();
    Corpus::from([
        ("one".to_owned(), batch(&sessions[..1])),
        ("three".to_owned(), batch(&sessions)),
        ("nameless".to_owned(), batch(&[Session::default()])),
    ])
}

fn link_frames() -> Corpus {
    let place = Place { conversation: "d:ann:bob".into(), seq: 7, message_id: 10_001, after: 6 };
    let given = Given { conversation: "d:ann:bob".into(), from: 1, to: 7, message_id: 10_001 };
    let hello = Hello {
        cluster: "imago".into(),
        service_id: "gateway-1".into(),
        incarnation: 7,
        nonce: vec![9; 32],
        ..Hello::default()
    };
    let forward = Forward {
        request: 300,
        session: 7,
        command: "chat.user.talk".into(),
        dest: "bob".into(),
        acked: vec![given.clone()],
        ..Forward::default()
    };
    let reply =
        Reply { request: 300, place: Some(place.clone()), given: vec![given], ..Reply::default() };
    let push = Push { sessions: (1..200).collect(), place: Some(place), again: true };
    let told = SessionsUp { left: 3, now: 5, stamp: 9 };
    let batch = Bytes::from(session_batches()["three"].clone());
    let body = Bytes::from_static(b"the body of a packet");
    let frames = [
        ("hello", LinkFrame::new(Kind::Hello(hello))),
        ("forward", LinkFrame::with_payload(Kind::Forward(forward), body.clone())),
        ("reply", LinkFrame::with_payload(Kind::Reply(reply), body.clone())),
        ("push", LinkFrame::with_payload(Kind::Push(push), body)),
        ("sessions", LinkFrame::with_payload(Kind::SessionsUp(told), batch)),
    ];
    let encoded = |(name, frame): (&str, LinkFrame)| {
        let mut wire = BytesMut::new();
        frame.encode(&mut wire);
        (name.to_owned(), wire.to_vec())
    };
    frames.into_iter().map(encoded).collect()
}

fn texts() -> Corpus {
    let texts = [
        ("empty", "# Nothing is changed.\n"),
        (
            "all",
            "[cluster]\nname = \"imago\"\n[service]\nport = 8000\ntags = [\"blue\", \"canary\"]\n\
                 [listen]\nws = \"[::1]:8000\"\nstrict = false\n[limits]\npacket = \"64 KiB\"\n\
                 [forward]\nhold = \"1m 30s\"\n[log]\nformat = \"json\"\n",
        ),
        ("flat", "cluster.name = 'literal'\nlimits.packet = 4096\nforward.hold = \"250ms\"\n"),
        (
            "wrong",
            "[service]\nport = 99999\ntags = [[1]]\n[servcie]\nport = 1\n[log]\nformat = \"xml\"\n",
        ),
        ("inline", "service = { port = 1, tags = [] }\n[store]\nkind = \"memory\"\n[log]\n"),
        ("broken", "[cluster\nname = \"imago\nsecret = 7 8\n"),
    ];
    texts.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
}
