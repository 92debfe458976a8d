/// A number of a model's configuration. The configuration is somebody else's,
/// so each is bounded before anything is made of that size; the bounds are far
/// above any model, and products of them stay below 2^63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Layers.
    Layers,
    /// Heads, of queries or keys.
    Heads,
    /// Width of a head.
    HeadWidth,
    /// Width of the residual stream.
    Width,
    /// Width of the feed-forward block.
    Inner,
    /// Tokens in the embedding table; ids have 32 bits.
    Vocabulary,
    /// Tokens in a context.
    Positions,
    /// Outputs of a classifier.
    Labels,
    /// Experts of a layer, those that answer for a token, and layers from one
    /// with experts to the next.
    Experts,
    /// Tokens in a context whose angles are all computed beforehand.
    Table,
}

impl Size {
    const fn most(self) -> usize {
        match self {
            Self::Layers | Self::Heads | Self::HeadWidth | Self::Experts => 1 << 12,
            Self::Width => 1 << 20,
            Self::Inner => 1 << 24,
            Self::Vocabulary => 1 << 31,
            Self::Positions => 1 << 40,
            Self::Labels => 1 << 16,
            Self::Table => 1 << 21,
        }
    }

    /// The number, if it is above 0 and one that a model can have.
    ///
    /// # Errors
    /// What is wrong with it, to follow "a KEY" or "KEY is".
    pub fn check(self, number: usize) -> Result<usize, String> {
        match number {
            0 => Err("0".to_owned()),
            number if number > self.most() => Err(format!(
                "{number}, and no model has more than {}",
                self.most()
            )),
            number => Ok(number),
        }
    }
}
