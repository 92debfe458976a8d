use serde::{Serialize, Serializer, ser::SerializeMap};
use std::fmt;

/// Something that an experiment's directory says and that is not so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lie {
    /// There are artifacts and no `state.json`.
    NoState,
    /// A file is torn, corrupt or can not be opened.
    Unreadable {
        /// Its name.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A newer version of the program wrote a file.
    Newer {
        /// Its name.
        file: String,
        /// Its `schema_version`.
        version: usize,
    },
    /// The phase is `complete` and a file is missing.
    CompleteWithout {
        /// Its name.
        file: String,
    },
    /// The phase is `complete` and questions have no answer.
    CompleteUnanswered {
        /// Questions with an answer.
        answered: usize,
        /// Questions in all.
        total: usize,
    },
    /// The phase is `complete` and no requested metric was computed.
    CompleteUnscored,
    /// A file says another number than another one holds.
    CountsDiffer {
        /// What was counted, as in "answers".
        what: &'static str,
        /// The file that says a number.
        file: &'static str,
        /// The number it says.
        says: usize,
        /// The file that was counted.
        other: &'static str,
        /// What it holds.
        holds: usize,
    },
    /// Lines of the journal were passed over.
    DamagedJournal {
        /// How many.
        lines: usize,
        /// The first, with its place.
        first: String,
    },
    /// A question has several records in `predictions.json`.
    Duplicates {
        /// Records too many.
        records: usize,
    },
    /// The text of an error was scored as if it were an answer.
    ErrorScored {
        /// How many.
        records: usize,
    },
    /// The spec in `metadata.json` has another hash than the file says.
    WrongHash,
    /// The directory has another name than the experiment in `metadata.json`.
    Misplaced {
        /// The experiment's name.
        experiment: String,
    },
    /// A file is not what its run sealed.
    Tampered {
        /// Its path below the directory.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The phase is one of work, and its owner is gone.
    OwnerGone {
        /// Who it was; `None` when nobody is on record.
        owner: Option<String>,
    },
}

impl Lie {
    /// Whether it is about the file of this name.
    pub(super) fn is_about(&self, name: &str) -> bool {
        matches!(
            self,
            Self::Unreadable { file, .. }
            | Self::Newer { file, .. }
            | Self::CompleteWithout { file }
            | Self::Tampered { file, .. } if file == name
        )
    }

    /// Its name in `--json`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NoState => "no_state",
            Self::Unreadable { .. } => "unreadable",
            Self::Newer { .. } => "newer",
            Self::CompleteWithout { .. } => "complete_without",
            Self::CompleteUnanswered { .. } => "complete_unanswered",
            Self::CompleteUnscored => "complete_unscored",
            Self::CountsDiffer { .. } => "counts_differ",
            Self::DamagedJournal { .. } => "damaged_journal",
            Self::Duplicates { .. } => "duplicates",
            Self::ErrorScored { .. } => "error_scored",
            Self::WrongHash => "wrong_hash",
            Self::Misplaced { .. } => "misplaced",
            Self::Tampered { .. } => "tampered",
            Self::OwnerGone { .. } => "owner_gone",
        }
    }

    /// Whether it is gone when the results of a complete experiment are written
    /// again from its answers.
    pub(super) fn is_mended_by_results(&self) -> bool {
        match self {
            Self::Unreadable { file, .. }
            | Self::CompleteWithout { file }
            | Self::Tampered { file, .. } => {
                ["predictions.json", "results.json"].contains(&file.as_str())
            }
            Self::CountsDiffer { .. } | Self::Duplicates { .. } | Self::ErrorScored { .. } => true,
            Self::NoState
            | Self::Newer { .. }
            | Self::CompleteUnanswered { .. }
            | Self::CompleteUnscored
            | Self::DamagedJournal { .. }
            | Self::WrongHash
            | Self::Misplaced { .. }
            | Self::OwnerGone { .. } => false,
        }
    }

    /// True for what every kill leaves behind and `resume` puts right without
    /// any loss: it is told, and is no failure.
    pub const fn is_ordinary(&self) -> bool {
        match self {
            Self::NoState | Self::OwnerGone { .. } | Self::DamagedJournal { .. } => true,
            Self::Unreadable { .. }
            | Self::Newer { .. }
            | Self::CompleteWithout { .. }
            | Self::CompleteUnanswered { .. }
            | Self::CompleteUnscored
            | Self::CountsDiffer { .. }
            | Self::Duplicates { .. }
            | Self::ErrorScored { .. }
            | Self::WrongHash
            | Self::Misplaced { .. }
            | Self::Tampered { .. } => false,
        }
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoState => f.write_str("there is no state.json"),
            Self::Unreadable { file, why } => write!(f, "{file} can not be read: {why}"),
            Self::Newer { file, version } => write!(
                f,
                "{file} has schema_version {version}, which this version of ragicamp does not know"
            ),
            Self::CompleteWithout { file } => {
                write!(f, "it says complete, and {file} is missing")
            }
            Self::CompleteUnanswered { answered, total } => write!(
                f,
                "it says complete, and only {answered} of {total} questions have an answer"
            ),
            Self::CompleteUnscored => {
                f.write_str("it says complete, and none of its metrics was computed")
            }
            Self::CountsDiffer {
                what,
                file,
                says,
                other,
                holds,
            } => write!(f, "{file} says {says} {what}, {other} holds {holds}"),
            Self::DamagedJournal { lines: 1, first } => {
                write!(f, "a line of the journal is damaged ({first})")
            }
            Self::DamagedJournal { lines, first } => {
                write!(
                    f,
                    "{lines} lines of the journal are damaged (first: {first})"
                )
            }
            Self::Duplicates { records } => write!(
                f,
                "predictions.json holds {records} records too many of questions that it holds already"
            ),
            Self::ErrorScored { records } => {
                write!(
                    f,
                    "{records} error texts were scored as if they were answers"
                )
            }
            Self::WrongHash => {
                f.write_str("the spec in metadata.json does not have the hash that the file names")
            }
            Self::Misplaced { experiment } => {
                write!(f, "metadata.json is of the experiment {experiment}")
            }
            Self::Tampered { file, why } => write!(f, "{file} {why}"),
            Self::OwnerGone { owner: Some(owner) } => {
                write!(f, "it says work is going on, and {owner} is gone")
            }
            Self::OwnerGone { owner: None } => {
                f.write_str("it says work is going on, and nobody is at it")
            }
        }
    }
}

impl Serialize for Lie {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("kind", self.kind())?;
        map.serialize_entry("message", &self.to_string())?;
        map.end()
    }
}
