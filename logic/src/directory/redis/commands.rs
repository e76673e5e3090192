//! The commands that are sent to Redis. Each is for one key, so that a cluster takes them too.

use std::time::Duration;

use imago_container::PeerId;
use imago_proto::{Account, App, Incarnation, ServiceId, SessionId};
use redis::{Cmd, Value};

use super::{super::Session, entry, entry::Keys};

/// Writes a session, and removes what has expired beside it. Key: the account's; arguments: field,
/// session, time to live in milliseconds.
const PUT: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local expires = tonumber(string.match(all[i + 1], '^(%d+) '))
  if not expires or expires < now then redis.call('HDEL', KEYS[1], all[i]) end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now + ARGV[3]) .. ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])";

/// Takes or renews the lease of a gateway. A lease can be taken that is free, or that its writer has left. Key: the
/// gateway's; arguments: incarnation, writer, time to live in milliseconds, and 1 where a lease of
/// another incarnation is out of date.
/// Gives 2: renewed, 1: taken, 0: another writer has it.
const CLAIM: &str = "\
local mine = ARGV[1] .. ' ' .. ARGV[2]
local lease = redis.call('GET', KEYS[1])
if lease == mine then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 2
end
if not lease or lease == ARGV[1] .. ' ' or (ARGV[4] == '1' and string.sub(lease, 1, #ARGV[1]) ~= ARGV[1]) then
  redis.call('SET', KEYS[1], mine, 'PX', ARGV[3])
  return 1
end
return 0";

/// Ends a lease, and what counts by it. Key: the gateway's; arguments: incarnation, writer.
const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] .. ' ' .. ARGV[2] then return redis.call('DEL', KEYS[1]) end
return 0";

/// Leaves a lease to the next writer; what counts by it does so until it expires. Key: the
/// gateway's; arguments: incarnation, writer.
const LEAVE: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] .. ' ' .. ARGV[2] then return 0 end
local rest = redis.call('PTTL', KEYS[1])
if rest > 0 then redis.call('SET', KEYS[1], ARGV[1] .. ' ', 'PX', rest) end
return 1";

/// The result of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The lease is renewed.
    Renewed,
    /// The lease is new, so that what Redis has is unknown.
    Taken,
    /// Another server writes the gateway's sessions.
    Others,
}

impl Claim {
    pub(super) fn of(answer: &Value) -> Self {
        match answer {
            Value::Int(2) => Self::Renewed,
            Value::Int(1) => Self::Taken,
            _ => Self::Others,
        }
    }
}

/// Whether a lease of another incarnation is respected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The gateway has just told its sessions: its incarnation is newer than that of the lease.
    Fresh,
    /// This server's link may be of an older incarnation.
    Old,
}

pub(super) fn put(keys: &Keys, session: &Session, ttl: Duration) -> Cmd {
    let mut put = redis::cmd("EVAL");
    put.arg(PUT).arg(1).arg(keys.account(&session.app, &session.account));
    put.arg(entry::field(&session.gateway, session.id)).arg(entry::encode(session));
    put.arg(millis(ttl));
    put
}

pub(super) fn remove(
    keys: &Keys,
    app: &App,
    account: &Account,
    gateway: &PeerId,
    id: SessionId,
) -> Cmd {
    let mut remove = redis::cmd("HDEL");
    remove.arg(keys.account(app, account)).arg(entry::field(gateway, id));
    remove
}

pub(super) fn read(keys: &Keys, app: &App, account: &Account) -> Cmd {
    let mut read = redis::cmd("HGETALL");
    read.arg(keys.account(app, account));
    read
}

pub(super) fn claim(
    keys: &Keys,
    gateway: &PeerId,
    writer: Incarnation,
    lease: Duration,
    evidence: Evidence,
) -> Cmd {
    let mut claim = redis::cmd("EVAL");
    claim.arg(CLAIM).arg(1).arg(keys.gateway(&gateway.service_id));
    claim.arg(gateway.incarnation.to_string()).arg(writer.to_string()).arg(millis(lease));
    claim.arg(u8::from(evidence == Evidence::Fresh));
    claim
}

/// Ends the lease of a gateway that is gone.
pub(super) fn release(keys: &Keys, gateway: &PeerId, writer: Incarnation) -> Cmd {
    give(RELEASE, keys, gateway, writer)
}

/// Leaves the lease to another writer.
pub(super) fn leave(keys: &Keys, gateway: &PeerId, writer: Incarnation) -> Cmd {
    give(LEAVE, keys, gateway, writer)
}

fn give(script: &str, keys: &Keys, gateway: &PeerId, writer: Incarnation) -> Cmd {
    let mut give = redis::cmd("EVAL");
    give.arg(script).arg(1).arg(keys.gateway(&gateway.service_id));
    give.arg(gateway.incarnation.to_string()).arg(writer.to_string());
    give
}

pub(super) fn lease(keys: &Keys, gateway: &ServiceId) -> Cmd {
    let mut lease = redis::cmd("GET");
    lease.arg(keys.gateway(gateway));
    lease
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
