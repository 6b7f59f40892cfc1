//! In how many layers a proxy takes the runtime.

/// How a proxy's bootstrap divides the runtime: into one layer, or into as many as there are numbers of so many octal
/// digits (8, 64). A set, since a bootstrap may declare several.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct RuntimeForms(u8);

impl RuntimeForms {
    /// The runtime was not asked for.
    pub const NONE: Self = Self(0);
    /// One layer with everything.
    pub const WHOLE: Self = Self(1);
    /// The most digits that a layer's name has: with more layers Envoy's start costs more than a percentage saves.
    pub const MAX_DIGITS: u32 = 2;

    /// Layers of so many octal digits; none of more than [`Self::MAX_DIGITS`].
    pub fn of_digits(digits: u32) -> Self {
        if digits > Self::MAX_DIGITS { Self::NONE } else { Self(1 << digits) }
    }

    /// Whether the runtime was asked for in any form.
    pub fn any(self) -> bool {
        self != Self::NONE
    }

    /// Both of them.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The numbers of digits, in ascending order.
    pub fn digits(self) -> impl Iterator<Item = u32> {
        (0..=Self::MAX_DIGITS).filter(move |digits| self.0 & (1 << digits) != 0)
    }
}

impl From<bool> for RuntimeForms {
    /// The one layer, or none.
    fn from(whole: bool) -> Self {
        if whole { Self::WHOLE } else { Self::NONE }
    }
}
