/// Biases on attention scores by the distance of key and query, per head
/// (MPNet, after T5's relative positions).
pub struct Distances {
    /// `[heads][2 * longest - 1]`, the farthest key before the query first.
    values: Vec<f32>,
    longest: usize,
}

impl Distances {
    /// Spreads a table `[buckets, heads]` over the distances in texts of up to
    /// `longest` tokens. Distances from `far` on share the last bucket of
    /// their side.
    pub fn new(table: &[f32], heads: usize, far: usize, longest: usize) -> Self {
        let buckets = table.len() / heads;
        let values = (0..heads)
            .flat_map(|head| {
                let last = longest as isize - 1;
                (-last..=last)
                    .map(move |distance| table[bucket(distance, buckets, far) * heads + head])
            })
            .collect();
        Self { values, longest }
    }

    /// Of one head, by ascending distance.
    pub fn of_head(&self, head: usize) -> &[f32] {
        let width = 2 * self.longest - 1;
        &self.values[head * width..(head + 1) * width]
    }

    /// Where distance 0 is.
    pub const fn zero(&self) -> usize {
        self.longest - 1
    }
}

/// The bucket of a key at `distance` after the query: one each for the nearest,
/// ranges that grow by a factor for the others, one half for each side.
fn bucket(distance: isize, buckets: usize, far: usize) -> usize {
    let side = buckets / 2;
    let exact = side / 2;
    let away = distance.unsigned_abs();
    let within = if away < exact {
        away
    } else {
        // In f32, as the reference computes it.
        let ratio = (away as f32 / exact as f32).ln() / (far as f32 / exact as f32).ln();
        (exact + (ratio * (side - exact) as f32) as usize).min(side - 1)
    };
    if distance > 0 { side + within } else { within }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_keys_have_buckets_of_their_own_and_far_ones_share_the_last() {
        assert_eq!(bucket(0, 32, 128), 0);
        assert_eq!(bucket(-7, 32, 128), 7);
        assert_eq!(bucket(7, 32, 128), 23);
        assert_eq!(bucket(-8, 32, 128), 8);
        assert_eq!(bucket(-500, 32, 128), 15);
        assert_eq!(bucket(500, 32, 128), 31);
    }

    #[test]
    fn a_distance_is_looked_up_from_the_middle() {
        let table: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let distances = Distances::new(&table, 2, 128, 5);
        let second = distances.of_head(1);
        assert_eq!(second.len(), 9);
        assert_eq!(second[distances.zero()], 1.0);
        assert_eq!(second[distances.zero() + 2], (18 * 2 + 1) as f32);
        assert_eq!(second[distances.zero() - 2], (2 * 2 + 1) as f32);
    }
}
