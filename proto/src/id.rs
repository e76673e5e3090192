//! Newtypes for what would otherwise be strings and numbers that trade places.

use std::{borrow::Borrow, fmt, sync::Arc};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $name {
            fn from(text: T) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

text_id! {
    /// Id of one server in the registry, for example `gateway-1`. A restarted server may come
    /// back under the same id, told apart by its [`Incarnation`].
    ServiceId
}
text_id! {
    /// Opaque id of one client connection: `<service id>_<account>_<random>`, without commas.
    ChannelId
}
text_id! {
    /// Name of a user, unique within its [`App`].
    Account
}
text_id! {
    /// Tenant. Accounts of different apps never meet.
    App
}
text_id! {
    /// Id of a group, unique in the cluster.
    GroupId
}
text_id! {
    /// Id of a conversation as clients see it, opaque to them.
    ConversationId
}

impl ChannelId {
    /// The id of a connection to the gateway with this service id.
    pub fn made(gateway: &str, account: &str, random: u64) -> Self {
        Self::from(format!("{gateway}_{account}_{random:016x}"))
    }

    /// The random number in an id, where [`made`](Self::made) makes this id of it.
    pub fn random_of(id: &str, gateway: &str, account: &str) -> Option<u64> {
        let own = id.strip_prefix(gateway)?.strip_prefix('_')?;
        let random = own.strip_prefix(account)?.strip_prefix('_')?;
        let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_random = random.len() == 16 && random.bytes().all(is_hex);
        is_random.then(|| u64::from_str_radix(random, 16).ok()).flatten()
    }
}

/// Random number chosen when a process starts: a restart under the same [`ServiceId`] has another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Incarnation {
    type Err = std::num::ParseIntError;

    /// Reads what [`fmt::Display`] writes: 16 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// Number of a session on its gateway, never used twice by one incarnation of that gateway.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Position of a message in its conversation: 1, 2, 3, … without a gap. 0 stands before the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_id_is_known_by_its_random_number_only_as_it_was_made() {
        for random in [0, 7, u64::MAX] {
            let id = ChannelId::made("gate_1", "ann_b", random);
            assert_eq!(ChannelId::random_of(id.as_str(), "gate_1", "ann_b"), Some(random));
            assert_eq!(ChannelId::random_of(id.as_str(), "gate_2", "ann_b"), None);
            assert_eq!(ChannelId::random_of(id.as_str(), "gate_1", "ann"), None);
        }
        for random in ["", "7", "+00000000000000f", "00000000000000FF", "0000000000000000f", "é"] {
            let id = format!("gate_ann_{random}");
            assert_eq!(ChannelId::random_of(&id, "gate", "ann"), None, "{id}");
        }
    }

    #[test]
    fn an_incarnation_reads_what_it_writes() {
        for number in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let text = Incarnation(number).to_string();
            assert_eq!(text.len(), 16);
            assert_eq!(text.parse(), Ok(Incarnation(number)));
        }
        assert!("not hex".parse::<Incarnation>().is_err());
    }
}
