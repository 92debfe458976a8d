//! What was computed once: vectors of texts and rankings of queries, in an
//! SQLite database that several processes use at once.
//!
//! A cache is never a reason to fail. What can not be read is computed, and
//! what can not be written is not kept.

use super::{IndexError, error::broken, hit::Hit};
use crate::domain::TextRole;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// The database, below the directory of the indexes.
const FILE: &str = "cache.sqlite";
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS models (
        id INTEGER PRIMARY KEY,
        identity TEXT NOT NULL UNIQUE
    );
    CREATE TABLE IF NOT EXISTS vectors (
        model INTEGER NOT NULL,
        text BLOB NOT NULL,
        vector BLOB NOT NULL,
        PRIMARY KEY (model, text)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS rankings (
        search INTEGER NOT NULL,
        query BLOB NOT NULL,
        ranking TEXT NOT NULL,
        PRIMARY KEY (search, query)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS searches (
        id INTEGER PRIMARY KEY,
        identity TEXT NOT NULL UNIQUE
    );
";
/// Another process may be writing.
const BUSY: Duration = Duration::from_secs(30);

/// Whoever finds it busy looks again after this.
const AGAIN: Duration = Duration::from_millis(5);

/// A ranking as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptRanking {
    /// What was asked for at most; there are fewer hits when there is no more.
    pub limit: usize,
    pub hits: Vec<Hit>,
    /// The reranker's score of each of the first hits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reranked: Vec<f32>,
}

/// Which part of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePart {
    /// Vectors of texts, by model.
    Embeddings,
    /// Rankings, by index and what was done to the query.
    Rankings,
}

/// One model's or one search's share of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheShare {
    /// The model's identity, or the search's.
    pub of: String,
    /// Texts, or queries.
    pub entries: u64,
    /// Bytes of what is kept for them.
    pub bytes: u64,
}

/// What is in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheStats {
    /// The database.
    pub path: PathBuf,
    /// Its size on disk, its journal included.
    pub bytes: u64,
    /// Vectors of texts.
    pub embeddings: Vec<CacheShare>,
    /// Rankings of queries.
    pub rankings: Vec<CacheShare>,
}

/// An open cache.
pub struct Cache {
    connection: Connection,
    path: PathBuf,
}

impl Cache {
    /// Opens the cache below the directory of the indexes, and makes it where
    /// it is not there.
    ///
    /// # Errors
    /// When the file can not be made or is no database.
    pub fn open(cache_dir: &Path) -> Result<Self, IndexError> {
        let path = cache_dir.join(FILE);
        std::fs::create_dir_all(cache_dir).map_err(super::error::not_kept(cache_dir, cache_dir))?;
        let open = || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // A lost entry is computed again; a broken file would be worse,
            // and WAL never breaks with this.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let began = Instant::now();
        loop {
            let busy = |error: &rusqlite::Error| {
                error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
            };
            match open() {
                Ok(connection) => return Ok(Self { connection, path }),
                // SQLite does not wait where several make a new file a WAL one
                // at once.
                Err(error) if busy(&error) && began.elapsed() < BUSY => thread::sleep(AGAIN),
                Err(error) => return Err(broken(&path, error.to_string())),
            }
        }
    }

    /// Opens the cache of a directory where there is one.
    ///
    /// # Errors
    /// When the file is no database.
    pub fn open_existing(cache_dir: &Path) -> Result<Option<Self>, IndexError> {
        match cache_dir.join(FILE).is_file() {
            true => Self::open(cache_dir).map(Some),
            false => Ok(None),
        }
    }

    /// The vectors of texts that are kept; `None` for the others.
    pub(super) fn vectors(
        &self,
        model: &str,
        role: TextRole,
        texts: &[&str],
        dimension: usize,
    ) -> Vec<Option<Vec<f32>>> {
        let look = || -> rusqlite::Result<Vec<Option<Vec<f32>>>> {
            let Some(model) = self.number("models", model)? else {
                return Ok(vec![None; texts.len()]);
            };
            let mut select = self
                .connection
                .prepare("SELECT vector FROM vectors WHERE model = ? AND text = ?")?;
            texts
                .iter()
                .map(|text| {
                    let bytes: Option<Vec<u8>> = select
                        .query_row(params![model, text_key(role, text)], |row| row.get(0))
                        .optional()?;
                    Ok(bytes
                        .filter(|bytes| bytes.len() == dimension * 4)
                        .map(|bytes| numbers(&bytes)))
                })
                .collect()
        };
        look().unwrap_or_else(|_| vec![None; texts.len()])
    }

    /// Keeps vectors of texts.
    pub(super) fn keep_vectors(
        &self,
        model: &str,
        role: TextRole,
        texts: &[&str],
        vectors: &[Vec<f32>],
    ) {
        // What is not kept is computed again.
        let _ = self.write(|connection| {
            let model = number_or_new(connection, "models", model)?;
            let mut insert = connection
                .prepare("INSERT OR REPLACE INTO vectors (model, text, vector) VALUES (?, ?, ?)")?;
            for (text, vector) in texts.iter().zip(vectors) {
                let bytes: Vec<u8> = vector.iter().flat_map(|n| n.to_le_bytes()).collect();
                insert.execute(params![model, text_key(role, text), bytes])?;
            }
            Ok(())
        });
    }

    /// The ranking of each query that is kept; `None` for the others.
    pub(super) fn rankings(&self, search: &str, queries: &[&str]) -> Vec<Option<KeptRanking>> {
        let look = || -> rusqlite::Result<Vec<Option<KeptRanking>>> {
            let Some(search) = self.number("searches", search)? else {
                return Ok(vec![None; queries.len()]);
            };
            let mut select = self
                .connection
                .prepare("SELECT ranking FROM rankings WHERE search = ? AND query = ?")?;
            queries
                .iter()
                .map(|query| {
                    let text: Option<String> = select
                        .query_row(params![search, hash(query.as_bytes())], |row| row.get(0))
                        .optional()?;
                    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
                })
                .collect()
        };
        look().unwrap_or_else(|_| vec![None; queries.len()])
    }

    /// Keeps rankings of queries.
    pub(super) fn keep_rankings(&self, search: &str, queries: &[&str], rankings: &[KeptRanking]) {
        // What is not kept is computed again.
        let _ = self.write(|connection| {
            let search = number_or_new(connection, "searches", search)?;
            let mut insert = connection.prepare(
                "INSERT OR REPLACE INTO rankings (search, query, ranking) VALUES (?, ?, ?)",
            )?;
            for (query, ranking) in queries.iter().zip(rankings) {
                let Ok(text) = serde_json::to_string(ranking) else {
                    continue;
                };
                insert.execute(params![search, hash(query.as_bytes()), text])?;
            }
            Ok(())
        });
    }

    /// What is in the cache.
    ///
    /// # Errors
    /// When the database can not be read.
    pub fn stats(&self) -> Result<CacheStats, IndexError> {
        let shares = |sql: &str| -> rusqlite::Result<Vec<CacheShare>> {
            let mut select = self.connection.prepare(sql)?;
            let rows = select.query_map([], |row| {
                Ok(CacheShare {
                    of: row.get(0)?,
                    entries: row.get::<_, i64>(1)?.unsigned_abs(),
                    bytes: row.get::<_, i64>(2)?.unsigned_abs(),
                })
            })?;
            rows.collect()
        };
        let failed = |error: rusqlite::Error| broken(&self.path, error.to_string());
        let sizes = ["", "-wal"].map(|suffix| {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            std::fs::metadata(path).map_or(0, |file| file.len())
        });
        Ok(CacheStats {
            path: self.path.clone(),
            bytes: sizes.iter().sum(),
            embeddings: shares(
                "SELECT identity, count(text), coalesce(sum(length(vector)), 0)
                 FROM models LEFT JOIN vectors ON model = id GROUP BY id ORDER BY identity",
            )
            .map_err(failed)?,
            rankings: shares(
                "SELECT identity, count(query), coalesce(sum(length(ranking)), 0)
                 FROM searches LEFT JOIN rankings ON search = id GROUP BY id ORDER BY identity",
            )
            .map_err(failed)?,
        })
    }

    /// Forgets a part of what is kept and gives the space back. Returns how
    /// many entries there were.
    ///
    /// # Errors
    /// When the database can not be written.
    pub fn clear(&self, part: CachePart) -> Result<u64, IndexError> {
        let (entries, names) = match part {
            CachePart::Embeddings => ("vectors", "models"),
            CachePart::Rankings => ("rankings", "searches"),
        };
        let clear = || -> rusqlite::Result<usize> {
            let mut count = 0;
            self.write(|connection| {
                count = connection.execute(&format!("DELETE FROM {entries}"), [])?;
                connection.execute(&format!("DELETE FROM {names}"), [])?;
                Ok(())
            })?;
            // Whoever reads at this moment keeps the space from being given
            // back; the next clearing gives it.
            let _ = self
                .connection
                .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
            Ok(count)
        };
        clear()
            .map(|count| count as u64)
            .map_err(|error| broken(&self.path, error.to_string()))
    }

    fn number(&self, table: &str, identity: &str) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare(&format!("SELECT id FROM {table} WHERE identity = ?"))?
            .query_row([identity], |row| row.get(0))
            .optional()
    }

    /// In one transaction that takes its place in the queue at once.
    fn write(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let transaction =
            Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        work(&transaction)?;
        transaction.commit()
    }
}

fn number_or_new(connection: &Connection, table: &str, identity: &str) -> rusqlite::Result<i64> {
    connection.execute(
        &format!("INSERT OR IGNORE INTO {table} (identity) VALUES (?)"),
        [identity],
    )?;
    connection.query_row(
        &format!("SELECT id FROM {table} WHERE identity = ?"),
        [identity],
        |row| row.get(0),
    )
}

fn text_key(role: TextRole, text: &str) -> Vec<u8> {
    let role: &[u8] = match role {
        TextRole::Query => b"query",
        TextRole::Passage => b"passage",
    };
    hash(&[role, b"\0", text.as_bytes()].concat())
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes)[..16].to_vec()
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    let numbers = bytes.as_chunks::<4>().0.iter();
    numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
