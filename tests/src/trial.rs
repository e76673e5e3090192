//! Short runs of a program, of which a test sees all that they show, and the keys that it takes.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::program;

/// Programs of one test that run at the same time: most of them wait.
const AT_ONCE: usize = 8;
/// Pages of a monitor port that are looked at.
const PAGES: [&str; 3] = ["/peers", "/metrics", "/ready"];

/// What a run has shown.
#[derive(Debug)]
pub struct Trial {
    /// Standard output, standard error, and the pages of the monitor port where there is one.
    pub shown: String,
    /// The exit code; `None` where the program ran on, and was ended.
    pub code: Option<i32>,
}

impl Trial {
    /// Runs a program until it ends, or until `within` is over. The environment holds no variables
    /// of ours but those of `command`; standard input is empty.
    ///
    /// # Panics
    /// When it cannot be started, or has panicked.
    pub fn run(command: &mut Command, within: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let [out, err] = ["stdout", "stderr"].map(|name| folder.path().join(name));
        let file = |path| File::create(path).expect("a temporary file can be made");
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
        let mut child = command.spawn().expect("the program can be started");
        let read =
            |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let until = Instant::now() + within;
        let mut pages = None;
        let code = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break status.code();
            }
            if Instant::now() >= until {
                end(&mut child);
                break None;
            }
            if pages.is_none() {
                pages = monitor(&read(&out)).map(|address| PAGES.map(|page| get(&address, page)));
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        let pages = pages.into_iter().flatten().collect::<String>();
        let shown = format!("{}\n{}\n{pages}", read(&out), read(&err));
        assert!(code != Some(101) && !shown.contains("panicked at"), "{command:?}:\n{shown}");
        Self { shown, code }
    }

    /// Runs `trial` for each of `cases`, some at the same time.
    pub fn each<T: Send>(cases: impl IntoIterator<Item = T>, trial: impl Fn(T) + Sync) {
        let waiting = Mutex::new(cases.into_iter().collect::<Vec<T>>());
        let next = || waiting.lock().unwrap_or_else(|broken| broken.into_inner()).pop();
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some(case) = next() {
                        trial(case);
                    }
                });
            }
        });
    }
}

/// Ends a program at once; its children end with their standard input.
fn end(child: &mut Child) {
    // Ended already is as good.
    let _ = child.kill();
    let _ = child.wait();
}

/// Where the monitor port of a server is, once it has said so.
fn monitor(said: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(said.lines().next()?).ok()?;
    line.get("monitor")?.as_str().map(ToOwned::to_owned)
}

/// What the monitor port answers.
fn get(address: &str, page: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {page} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().unwrap_or_default()
}

/// Keys of a server's settings, as it prints them itself.
///
/// # Panics
/// When it prints none.
pub fn setting_keys(name: &str) -> Vec<String> {
    let printed = Command::new(program(name)).arg("--print-config").env_clear().output();
    let printed = String::from_utf8(printed.expect("the program can be started").stdout);
    let (mut section, mut keys) = (String::new(), Vec::new());
    for line in printed.expect("the configuration is text").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            keys.push(format!("{section}.{key}"));
        }
    }
    assert!(keys.len() > 30 && keys.contains(&"naming.url".to_owned()), "{keys:?}");
    keys
}
