//! The number of sessions that an account may have: one a device, one a class of devices, or one.

/// Which sessions of an account exclude each other. Of those, the newest login stays.
///
/// All logic servers of a cluster must have the same policy: each decides by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DevicePolicy {
    /// Any number of devices, one session each.
    #[default]
    Unlimited,
    /// One session for each class of devices: the class of `phone:8f3a` is `phone`.
    Class,
    /// One session.
    Single,
}

impl DevicePolicy {
    /// Names in the configuration, in the order of the variants.
    pub const NAMES: [&str; 3] = ["unlimited", "class", "single"];

    /// Returns the policy of a name in the configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "unlimited" => Self::Unlimited,
            "class" => Self::Class,
            "single" => Self::Single,
            _ => return None,
        })
    }

    /// Returns the scope of a device, in which an account may have only one session.
    pub fn scope(self, device: &str) -> &str {
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
            assert_eq!(DevicePolicy::Class.scope(device), class);
            assert_eq!(DevicePolicy::Unlimited.scope(device), device);
            assert_eq!(DevicePolicy::Single.scope(device), "");
        }
    }

    #[test]
    fn every_name_has_its_policy() {
        let policies = [DevicePolicy::Unlimited, DevicePolicy::Class, DevicePolicy::Single];
        assert_eq!(DevicePolicy::NAMES.map(DevicePolicy::from_name), policies.map(Some));
        assert_eq!(DevicePolicy::from_name("Single"), None);
    }
}
