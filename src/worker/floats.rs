use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;

/// Floats on a line of JSON: base64 of little-endian f32, exact to the last
/// bit and half as long as digits.
#[derive(Debug, Clone, PartialEq)]
pub struct Floats(pub Vec<f32>);

impl Serialize for Floats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|x| x.to_le_bytes()).collect();
        serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Floats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD_NO_PAD
            .decode(text.as_bytes())
            .map_err(de::Error::custom)?;
        let (floats, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(de::Error::custom("no whole number of floats"));
        }
        Ok(Self(
            floats
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn floats_come_back_to_the_last_bit() {
        let floats = Floats(vec![0.1, -0.0, f32::MIN_POSITIVE, f32::INFINITY, 3.0e38]);
        let line = serde_json::to_string(&floats).unwrap();
        let back: Floats = serde_json::from_str(&line).unwrap();
        let bits = |floats: &Floats| floats.0.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(&floats));
    }

    #[test]
    fn what_is_no_base64_of_whole_floats_is_refused() {
        assert!(serde_json::from_str::<Floats>("\"AAA\"").is_err());
        assert!(serde_json::from_str::<Floats>("\"!\"").is_err());
    }
}
