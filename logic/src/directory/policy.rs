//! How many sessions an account may have at once: one a device, one a class of devices, or one.

/// Which sessions of an account stand in each other's way; of those the newest login stays.
///
/// All logic servers of a cluster must have the same policy: each decides by itself, and comes to
/// the same end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DevicePolicy {
    /// Any number of devices, one session each.
    #[default]
    Unlimited,
    /// One session for each class of devices: the class of `phone:8f3a` is `phone`.
    Class,
    /// One session, whatever the device.
    Single,
}

impl DevicePolicy {
    /// The names in the configuration, in the order of the variants.
    pub const NAMES: [&str; 3] = ["unlimited", "class", "single"];

    /// The policy of a name in the configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "unlimited" => Self::Unlimited,
            "class" => Self::Class,
            "single" => Self::Single,
            _ => return None,
        })
    }

    /// The part of a device's name that only one session of an account may have.
    pub fn place(self, device: &str) -> &str {
        match self {
            Self::Unlimited => device,
            Self::Class => device.split_once(':').map_or(device, |(class, _)| class),
            Self::Single => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_what_stands_before_the_first_colon() {
        for (device, class) in [
            ("phone:8f3a", "phone"),
            ("phone:a:b", "phone"),
            ("phone", "phone"),
            ("", ""),
            (":8f3a", ""),
        ] {
            assert_eq!(DevicePolicy::Class.place(device), class);
            assert_eq!(DevicePolicy::Unlimited.place(device), device);
            assert_eq!(DevicePolicy::Single.place(device), "");
        }
    }

    #[test]
    fn every_name_has_its_policy() {
        let policies = [DevicePolicy::Unlimited, DevicePolicy::Class, DevicePolicy::Single];
        assert_eq!(DevicePolicy::NAMES.map(DevicePolicy::from_name), policies.map(Some));
        assert_eq!(DevicePolicy::from_name("Single"), None);
    }
}
