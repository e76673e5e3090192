//! What stands in Redis: the names of keys and fields, and how a session is written.
//!
//! | key | value |
//! | --- | --- |
//! | `imago:<cluster>:sessions:<app>:<account>` | hash: a field for each session of the account |
//! | `imago:<cluster>:gateway:<service id>` | `<incarnation> <writer>`: who lives, and who writes its sessions; expires with the lease; no writer: it left, and the next one is awaited |
//!
//! A field is named `<service id>/<incarnation>/<session>`. Its value is the instant on Redis's
//! clock at which it expires (Unix milliseconds), a space, and the session as links tell it.

use imago_container::PeerId;
use imago_proto::{Account, App, Incarnation, ServiceId, SessionId, link};
use prost::Message;

use super::super::Session;

/// Names of the keys of one cluster of ours.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(cluster: &str) -> Self {
        Self { prefix: format!("imago:{}", plain(cluster)) }
    }

    /// Returns the key of an account's sessions.
    pub(super) fn account(&self, app: &App, account: &Account) -> String {
        format!("{}:sessions:{}:{}", self.prefix, plain(app.as_str()), plain(account.as_str()))
    }

    /// Returns the key of a gateway's lease.
    pub(super) fn gateway(&self, gateway: &ServiceId) -> String {
        format!("{}:gateway:{}", self.prefix, plain(gateway.as_str()))
    }
}

/// Escapes a name: it cannot be taken for two, nor choose its slot in a Redis cluster by braces.
fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '%' => plain.push_str("%25"),
            ':' => plain.push_str("%3a"),
            '{' => plain.push_str("%7b"),
            '}' => plain.push_str("%7d"),
            c => plain.push(c),
        }
    }
    plain
}

/// Returns the name of a session's field.
pub(super) fn field(gateway: &PeerId, id: SessionId) -> String {
    format!("{}/{}/{id}", gateway.service_id, gateway.incarnation)
}

/// Encodes a session as it is written, after the instant at which it expires.
pub(super) fn encode(session: &Session) -> Vec<u8> {
    session.to_link().encode_to_vec()
}

/// Reads a field; `None` where it is none of ours.
pub(super) fn decode(field: &str, value: &[u8]) -> Option<Session> {
    let mut parts = field.rsplitn(3, '/');
    let (id, incarnation, service) = (parts.next()?, parts.next()?, parts.next()?);
    let incarnation: Incarnation = incarnation.parse().ok()?;
    let gateway = PeerId { service_id: service.into(), incarnation };
    let space = value.iter().position(|byte| *byte == b' ')?;
    let told = link::Session::decode(value.get(space + 1..)?).ok()?;
    (id.parse() == Ok(told.id)).then(|| Session::from_link(&gateway, &told))
}

/// Returns the incarnation that a lease names.
pub(super) fn incarnation(lease: &str) -> Option<Incarnation> {
    lease.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session(channel: &str) -> Session {
        let gateway = PeerId { service_id: "gate/1".into(), incarnation: Incarnation(0xabc) };
        let told = link::Session {
            id: 17,
            channel_id: channel.to_owned(),
            account: "ann".to_owned(),
            app: "kim".to_owned(),
            device: "phone:1".to_owned(),
            login_time: 5,
            zone: "z".to_owned(),
            isp: "i".to_owned(),
            tags: vec!["a".to_owned(), "b".to_owned()],
            remote: "1.2.3.4:5".to_owned(),
            age: 0,
            order: 6,
            replaces: "gate_ann_0".to_owned(),
        };
        Session::from_link(&gateway, &told)
    }

    #[test]
    fn a_session_reads_as_it_was_written() {
        let session = session("gate_ann_1");
        let value = [b"1700000000000 ".to_vec(), encode(&session)].concat();
        let name = field(&session.gateway, session.id);
        assert_eq!(name, "gate/1/0000000000000abc/17");
        assert_eq!(decode(&name, &value), Some(session));
    }

    #[test]
    fn what_is_not_ours_is_no_session() {
        let value = [b"1 ".to_vec(), encode(&session("c"))].concat();
        assert_eq!(decode("gate/0000000000000abc/18", &value), None, "another session's field");
        assert_eq!(decode("gate/xyz/17", &value), None);
        assert_eq!(decode("17", &value), None);
        assert_eq!(decode("gate/0000000000000abc/17", b"rubbish"), None);
        assert_eq!(decode("gate/0000000000000abc/17", b"1 \xff\xff"), None);
    }

    proptest! {
        #[test]
        fn no_two_accounts_share_a_key(
            one in ("[a:%{}]{0,4}", "[a:%{}]{0,4}", "[a:%{}]{0,4}"),
            other in ("[a:%{}]{0,4}", "[a:%{}]{0,4}", "[a:%{}]{0,4}"),
        ) {
            let key = |(cluster, app, account): &(String, String, String)| {
                let keys = Keys::new(cluster);
                keys.account(&app.as_str().into(), &account.as_str().into())
            };
            prop_assert_eq!(key(&one) == key(&other), one == other);
            let chooses_slot = key(&one).contains(['{', '}']);
            prop_assert!(!chooses_slot);
        }
    }
}
