use super::*;
use crate::{Arrival, Chronicle, Ending};

/// Ann's phone sends; bob has a device of each kind.
struct Scene {
    chronicle: Chronicle,
    ann: DeviceId,
    bob: [DeviceId; 3],
}

const KINDS: [Promise; 3] = [Promise::Everything, Promise::FromOthers, Promise::WhileConnected];

fn scene() -> Scene {
    let chronicle = Chronicle::default();
    let ann = chronicle.starts("ann", "phone", Promise::Everything);
    chronicle.logs_in(ann);
    let bob = KINDS.map(|kind| {
        let id = chronicle.starts("bob", &format!("{kind:?}"), kind);
        chronicle.logs_in(id);
        id
    });
    let scene = Scene { chronicle, ann, bob };
    scene.passes(KNOWN);
    scene
}

impl Scene {
    fn sends(&self, seq: u64) -> String {
        let (number, body) = self.chronicle.sends(self.ann, "bob");
        let ending = Ending::Accepted { conversation: "d1".into(), seq };
        self.chronicle.ends(self.ann, number, ending);
        body
    }

    fn shows(&self, id: DeviceId, seq: u64, body: &str) {
        let (conversation, body) = ("d1".to_owned(), body.to_owned());
        self.chronicle.arrives(id, Arrival { conversation, seq, body });
    }

    /// Everything so far happened this much earlier.
    fn passes(&self, time: Duration) {
        let mut record = self.chronicle.lock();
        for session in record.devices.iter_mut().flat_map(|device| &mut device.sessions) {
            session.from -= time;
        }
        for sent in &mut record.sent {
            sent.began -= time;
            if let Some((answered, _)) = &mut sent.ended {
                *answered -= time;
            }
        }
    }

    /// All of bob's devices get a message of ann's.
    fn talks(&self, seq: u64) {
        let body = self.sends(seq);
        for id in self.bob {
            self.shows(id, seq, &body);
        }
    }

    fn only_fault(&self) -> String {
        let verdict = self.chronicle.verdict();
        assert_eq!((verdict.lost.len(), verdict.faults.len()), (0, 1), "{verdict}");
        verdict.faults[0].clone()
    }

    fn lost(&self) -> Vec<String> {
        let verdict = self.chronicle.verdict();
        assert_eq!(verdict.faults, [""; 0], "{verdict}");
        verdict.lost
    }
}

#[test]
fn what_every_device_has_is_clean_and_refusals_may_be_missing() {
    let scene = scene();
    scene.talks(1);
    scene.talks(2);
    let (number, _) = scene.chronicle.sends(scene.ann, "bob");
    scene.chronicle.ends(scene.ann, number, Ending::Refused("busy".into()));
    let verdict = scene.chronicle.verdict();
    verdict.assert_clean();
    assert_eq!((verdict.accepted, verdict.refused, verdict.duplicates), (2, 1, 0));
}

#[test]
fn a_message_is_lost_for_each_device_without_it() {
    let scene = scene();
    let body = scene.sends(1);
    assert_eq!(scene.lost().len(), 3);
    scene.shows(scene.bob[1], 1, &body);
    assert_eq!(scene.lost().len(), 2);
    // A naive one that was connected anew is promised nothing; the others are.
    for id in scene.bob {
        scene.chronicle.loses(id);
        scene.chronicle.logs_in(id);
    }
    let lost = scene.lost();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].contains("missing at bob/Everything"), "{lost:?}");
    // Nor is it promised what is sent before its login can be known.
    scene.sends(2);
    assert_eq!(scene.lost().len(), 3);
    scene.passes(KNOWN);
    scene.sends(3);
    assert_eq!(scene.lost().len(), 6);
}

#[test]
fn a_device_is_promised_nothing_from_before_its_first_login_and_everything_while_it_is_away() {
    let scene = scene();
    scene.talks(1);
    let tablet = scene.chronicle.starts("bob", "tablet", Promise::Everything);
    assert!(scene.lost()[0].contains("not online"));
    scene.chronicle.logs_in(tablet);
    assert_eq!(scene.lost(), [""; 0]);
    scene.chronicle.loses(tablet);
    scene.talks(2);
    scene.chronicle.logs_in(tablet);
    assert!(scene.lost()[0].contains("missing at bob/tablet"));
}

#[test]
fn own_messages_are_for_the_senders_other_devices_that_ask() {
    let scene = scene();
    for name in ["laptop", "watch"] {
        let promise = if name == "watch" { Promise::FromOthers } else { Promise::Everything };
        let id = scene.chronicle.starts("ann", name, promise);
        scene.chronicle.logs_in(id);
    }
    scene.talks(1);
    let lost = scene.lost();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].contains("missing at ann/laptop"));
}

#[test]
fn silence_is_found() {
    let scene = scene();
    scene.chronicle.sends(scene.ann, "bob");
    assert!(scene.lost()[0].contains("never answered"));
}

#[test]
fn a_group_is_for_its_members() {
    let scene = scene();
    scene.chronicle.group("g1", ["ann", "bob"].map(String::from));
    let eve = scene.chronicle.starts("eve", "", Promise::FromOthers);
    scene.chronicle.logs_in(eve);
    let (number, _) = scene.chronicle.sends(scene.ann, "g1");
    let ending = Ending::Accepted { conversation: "g1".into(), seq: 1 };
    scene.chronicle.ends(scene.ann, number, ending);
    assert_eq!(scene.lost().len(), 3);
}

#[test]
fn the_sdk_shows_each_message_once_and_in_order() {
    let scene = scene();
    scene.talks(1);
    scene.shows(scene.bob[0], 1, "ann/phone 1");
    assert!(scene.only_fault().contains("shown twice"));
    // By another process, it may be shown again.
    let scene = self::scene();
    scene.talks(1);
    scene.chronicle.starts("bob", "Everything", Promise::Everything);
    scene.shows(scene.bob[0], 1, "ann/phone 1");
    scene.chronicle.verdict().assert_clean();

    let scene = self::scene();
    let bodies = [scene.sends(1), scene.sends(2)];
    for id in scene.bob {
        for seq in [2, 1] {
            scene.shows(id, seq, &bodies[seq as usize - 1]);
        }
    }
    let faults = scene.chronicle.verdict().faults;
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("out of order by bob/Everything"));
    assert!(faults[1].contains("came to bob/WhileConnected after number 2"));
}

#[test]
fn what_is_pushed_again_is_a_duplicate_and_may_come_late_in_its_order() {
    let scene = scene();
    scene.talks(1);
    scene.talks(2);
    for id in [scene.bob[1], scene.bob[2]] {
        scene.shows(id, 1, "ann/phone 1");
    }
    let verdict = scene.chronicle.verdict();
    verdict.assert_clean();
    assert_eq!(verdict.duplicates, 2);
}

#[test]
fn places_are_taken_once_and_rise() {
    let scene = scene();
    let body = scene.sends(1);
    for id in scene.bob {
        scene.shows(id, 1, &body);
    }
    scene.sends(1);
    assert!(scene.chronicle.verdict().faults[0].contains("share place 1"));

    let scene = self::scene();
    scene.talks(1);
    scene.shows(scene.bob[1], 2, "ann/phone 1");
    assert!(scene.only_fault().contains("is at place 1 and at 2"));

    let scene = self::scene();
    scene.sends(2);
    scene.sends(1);
    let faults = scene.chronicle.verdict().faults;
    assert!(faults[0].contains("stored before"), "{faults:?}");
}

#[test]
fn what_a_connected_client_gets_long_after_healing_is_late() {
    let scene = scene();
    let body = scene.sends(1);
    scene.passes(LATE + Duration::from_secs(1));
    for id in scene.bob {
        scene.shows(id, 1, &body);
    }
    let verdict = scene.chronicle.verdict();
    assert_eq!(verdict.late.len(), 1, "{verdict}");
    assert!(verdict.late[0].contains("came to bob/WhileConnected"));
    scene.chronicle.heals();
    scene.chronicle.verdict().assert_clean();
}
