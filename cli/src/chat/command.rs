//! What a typed line asks for.

use super::text::printable;

/// What `/help` shows.
pub(super) const HELP: &str = "\
type a line and press Enter to send it; also:
  @NAME TEXT    send one line to somebody, or with @#GROUP TEXT to a group
  /to NAME      talk to somebody from now on, or with /to #GROUP to a group
  /history [N]  the last messages with whom you talk to
  /groups       your groups, and how much you have not read
  /who [GROUP]  who is in a group
  /group create NAME MEMBER…   make a group
  /group open NAME MEMBER…     make a group that anybody may join
  /group add GROUP NAME        bring somebody into a group
  /join GROUP   enter an open group
  /leave GROUP  leave a group
  /help         this help
  /quit         leave (or Ctrl-D)
a GROUP is its name or its id
marks: … is being sent, ✓ is stored and will arrive";

/// Messages that `/history` shows unless told, and at most.
const HISTORY: u32 = 20;
const HISTORY_MAX: u32 = 200;

/// Characters of a message (docs/wire.md, "Groups").
const BODY_MAX: usize = 5000;

/// Somebody to talk to, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    Account(String),
    /// A group's name or id.
    Group(String),
}

/// A line that can be carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Nothing,
    Help,
    Quit,
    To(To),
    /// Send a text, to whom one talks to unless it says so.
    Say(Option<To>, String),
    Create {
        name: String,
        members: Vec<String>,
        open: bool,
    },
    Add {
        group: String,
        account: String,
    },
    Groups,
    Join(String),
    Leave(String),
    /// Of the group one talks to unless it says so.
    Who(Option<String>),
    History(u32),
}

/// Reads a line; `Err` says what was expected.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    if let Some(rest) = line.strip_prefix('/') {
        let (command, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        return slash(command, rest.trim());
    }
    if let Some(rest) = line.strip_prefix('@') {
        return match rest.split_once(' ') {
            Some((name, text)) if !matches!(name, "" | "#") => {
                Ok(Command::Say(Some(to(name)), body(text.trim())?))
            }
            _ => Err("expected @NAME TEXT or @#GROUP TEXT".to_owned()),
        };
    }
    Ok(if line.is_empty() { Command::Nothing } else { Command::Say(None, body(line)?) })
}

/// A text that may be sent.
fn body(text: &str) -> Result<String, String> {
    match text.chars().count() {
        ..=BODY_MAX => Ok(text.to_owned()),
        long => Err(format!("not sent: expected at most {BODY_MAX} characters, got {long}")),
    }
}

fn slash(command: &str, rest: &str) -> Result<Command, String> {
    Ok(match (command, rest) {
        ("quit" | "exit", _) => Command::Quit,
        ("help", _) => Command::Help,
        ("to", "" | "#") => return Err("expected /to NAME or /to #GROUP".to_owned()),
        ("to", name) => Command::To(to(name)),
        ("groups", _) => Command::Groups,
        ("group", rest) => return group(rest),
        ("join" | "leave", "" | "#") => return Err(format!("expected /{command} GROUP")),
        ("join", name) => Command::Join(bare(name)),
        ("leave", name) => Command::Leave(bare(name)),
        ("who", "") => Command::Who(None),
        ("who", name) => Command::Who(Some(bare(name))),
        ("history", "") => Command::History(HISTORY),
        ("history", number) => match number.parse() {
            Ok(number @ 1..=HISTORY_MAX) => Command::History(number),
            _ => return Err(format!("expected /history N, N from 1 to {HISTORY_MAX}")),
        },
        (other, _) => {
            return Err(format!("unknown command /{}, /help helps", printable(other)));
        }
    })
}

fn group(rest: &str) -> Result<Command, String> {
    let mut words = rest.split_whitespace().map(str::to_owned);
    let (what, first) = (words.next().unwrap_or_default(), words.next());
    let rest: Vec<String> = words.collect();
    match (what.as_str(), first, rest.as_slice()) {
        (what @ ("create" | "open"), Some(name), _) => {
            Ok(Command::Create { name: bare(&name), members: rest, open: what == "open" })
        }
        ("add", Some(group), [account]) => {
            Ok(Command::Add { group: bare(&group), account: account.clone() })
        }
        _ => Err("expected /group create NAME MEMBER…, /group open NAME MEMBER… or \
                  /group add GROUP NAME"
            .to_owned()),
    }
}

/// An account, or a group behind a `#`.
pub(super) fn to(name: &str) -> To {
    match name.strip_prefix('#') {
        Some(group) => To::Group(group.to_owned()),
        None => To::Account(name.to_owned()),
    }
}

/// Groups may be typed with their `#` everywhere.
fn bare(group: &str) -> String {
    group.strip_prefix('#').unwrap_or(group).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn lines_are_sent_and_commands_are_understood() {
        let bob = || To::Account(text("bob"));
        let team = || To::Group(text("team"));
        for (line, command) in [
            ("", Command::Nothing),
            ("hello bob", Command::Say(None, text("hello bob"))),
            ("@bob  hi there", Command::Say(Some(bob()), text("hi there"))),
            ("@#team hi", Command::Say(Some(team()), text("hi"))),
            ("/to bob", Command::To(bob())),
            ("/to #team", Command::To(team())),
            ("/groups", Command::Groups),
            ("/join #team", Command::Join(text("team"))),
            ("/leave g1", Command::Leave(text("g1"))),
            ("/who", Command::Who(None)),
            ("/who team", Command::Who(Some(text("team")))),
            ("/history", Command::History(20)),
            ("/history 7", Command::History(7)),
            ("/exit", Command::Quit),
        ] {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
        let members = vec![text("bob"), text("carol")];
        let create = Command::Create { name: text("team"), members, open: false };
        assert_eq!(parse("/group create team bob  carol"), Ok(create));
        let open = Command::Create { name: text("all"), members: Vec::new(), open: true };
        assert_eq!(parse("/group open #all"), Ok(open));
        let add = Command::Add { group: text("all"), account: text("bob") };
        assert_eq!(parse("/group add all bob"), Ok(add));
    }

    #[test]
    fn a_text_that_is_too_long_is_not_sent() {
        let (long, longer) = ("日".repeat(BODY_MAX), "日".repeat(BODY_MAX + 1));
        assert_eq!(parse(&long), Ok(Command::Say(None, long)));
        for line in [longer.clone(), format!("@bob {longer}")] {
            let wrong = parse(&line).unwrap_err();
            assert!(wrong.contains("at most 5000 characters, got 5001"), "{wrong}");
        }
        assert!(parse("/\x1b[2J").unwrap_err().starts_with("unknown command /\u{fffd}[2J"));
    }

    #[test]
    fn what_cannot_be_carried_out_is_answered_with_what_can() {
        for (line, answer) in [
            ("/to", "expected /to NAME"),
            ("@bob", "expected @NAME TEXT"),
            ("@# hi", "expected @NAME TEXT"),
            ("/join", "expected /join GROUP"),
            ("/history all", "expected /history N"),
            ("/history 201", "expected /history N"),
            ("/group", "expected /group create"),
            ("/group add team", "expected /group create"),
            ("/dance", "unknown command /dance"),
        ] {
            assert!(parse(line).unwrap_err().starts_with(answer), "{line}");
        }
    }

    #[test]
    fn the_help_names_every_command() {
        for command in
            ["@NAME", "@#GROUP", "to", "history", "groups", "who", "group", "join", "leave", "quit"]
        {
            assert!(HELP.contains(command), "{command}");
        }
    }
}
