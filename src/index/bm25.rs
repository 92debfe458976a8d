//! Lexical search: BM25 over a tantivy index.
//!
//! The analyser takes runs of letters and digits (Unicode), in lower case,
//! without stop words and without stemming; runs of more than 255 bytes are
//! left out. Title and text are one field. k1 = 1.2 and b = 0.75, tantivy's
//! constants; a passage's length is kept in one byte, as Lucene does.

use super::{
    BuildProgress, IndexError,
    corpus::Corpus,
    error::{broken, io_error, system_number},
    hit::{Hit, Side},
    progress::{Tell, report},
    store::{key, publish_resumable, read_manifest, set_aside, write_manifest},
};
use crate::{domain::Passage, retrieval::Chunking};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};
use tantivy::{
    DocAddress, Index, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term,
    collector::TopDocs,
    columnar::StrColumn,
    merge_policy::NoMergePolicy,
    query::{BooleanQuery, Occur, Query, TermQuery},
    schema::{
        FAST, Field, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions, Value,
    },
    tokenizer::{LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer, TokenStream},
};

/// Changes when the same corpus and chunking would give another index.
const ANALYSER: &str = "words-lower/title+text/1";
const ANALYSER_NAME: &str = "words-lower";
const WRITER_BYTES: usize = 128 << 20;
/// Passages after which a build is kept as far as it is, so that a kill costs
/// no more.
const KEPT_EVERY: u64 = if cfg!(test) { 100 } else { 100_000 };
/// Words of a query that count. A longer one is no question, and the time of
/// a search grows with its words.
const MAX_QUERY_WORDS: usize = 1_024;
/// More than was asked for is fetched, so that equal scores at the border are
/// seen and settled by id.
const EXTRA: usize = 8;

pub(super) fn engine_error(path: &Path) -> impl Fn(TantivyError) -> IndexError + '_ {
    |error| match system_error(&error) {
        Some(source) => IndexError::Io {
            path: path.to_owned(),
            source,
        },
        None => IndexError::Engine {
            path: path.to_owned(),
            message: error.to_string(),
        },
    }
}

/// What the system said, where that is what the engine stumbled over.
fn system_error(error: &TantivyError) -> Option<io::Error> {
    // The engine wraps it in many ways, some of which keep its text alone.
    let number = system_number(&error.to_string()).map(io::Error::from_raw_os_error);
    match error {
        TantivyError::IoError(source) => {
            Some(number.unwrap_or_else(|| io::Error::new(source.kind(), source.to_string())))
        }
        _ => number,
    }
}

fn analyser() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(256))
        .filter(LowerCaser)
        .build()
}

#[derive(Debug, Clone, Copy)]
struct Fields {
    /// The passage's id; in a column too, for the order of equal scores.
    id: Field,
    /// The id of its document.
    document: Field,
    /// Where the passage starts in the document's text, in bytes.
    start: Field,
    title: Field,
    text: Field,
    /// Title and text, searchable and not stored.
    words: Field,
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let words = TextOptions::default().set_indexing_options(
        TextFieldIndexing::default()
            .set_tokenizer(ANALYSER_NAME)
            .set_index_option(IndexRecordOption::WithFreqs),
    );
    let stored: TextOptions = STORED.into();
    let fields = Fields {
        id: schema.add_text_field("id", STORED | FAST),
        document: schema.add_text_field("document", stored.clone()),
        start: schema.add_u64_field("start", STORED),
        title: schema.add_text_field("title", stored.clone()),
        text: schema.add_text_field("text", stored),
        words: schema.add_text_field("words", words),
    };
    (schema.build(), fields)
}

/// Opens the BM25 index of a corpus, and builds it where it is not there. An
/// index that can not be opened is set aside and built anew.
pub(super) fn open(
    corpus: &Corpus,
    corpus_identity: &str,
    chunking: &Chunking,
    cache_dir: &Path,
    tell: &mut Tell<'_>,
) -> Result<Bm25, IndexError> {
    let name = format!(
        "bm25-{}",
        key(&[corpus_identity, &chunking.identity(), ANALYSER])
    );
    let place = cache_dir.join(&name);
    if place.is_dir() {
        if let Ok(index) = Bm25::open(&place) {
            return Ok(index);
        }
        set_aside(&place)?;
    }
    publish_resumable(cache_dir, &name, tell, |dir, tell| {
        build(corpus, corpus_identity, chunking, dir, tell)
    })?;
    Bm25::open(&place)
}

/// How far a build is: what a commit of the engine says of itself.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Done {
    /// Documents of the corpus that were read.
    read: u64,
    documents: u64,
    empty_documents: u64,
    passages: u64,
}

/// What an earlier attempt has left in `dir`, where it can be gone on with;
/// else a new index, in place of whatever is there.
fn resume(dir: &Path, wanted: Schema) -> Result<(Index, Done), IndexError> {
    let left = || -> Option<(Index, Done)> {
        let index = Index::open_in_dir(dir).ok()?;
        let payload = index.load_metas().ok()?.payload?;
        let done = serde_json::from_str(&payload).ok()?;
        let is_whole = index.schema() == wanted && index.validate_checksum().ok()?.is_empty();
        is_whole.then_some((index, done))
    };
    if let Some(left) = left() {
        return Ok(left);
    }
    for entry in fs::read_dir(dir).map_err(io_error(dir))?.flatten() {
        fs::remove_file(entry.path()).map_err(io_error(&entry.path()))?;
    }
    let index = Index::create_in_dir(dir, wanted).map_err(engine_error(dir))?;
    Ok((index, Done::default()))
}

/// Fills `dir` with the index of a corpus, going on with what is there.
fn build(
    corpus: &Corpus,
    corpus_identity: &str,
    chunking: &Chunking,
    dir: &Path,
    tell: &mut Tell<'_>,
) -> Result<(), IndexError> {
    let started = Instant::now();
    report(
        tell,
        BuildProgress::Started {
            kind: "bm25",
            corpus: corpus.path.clone(),
            bytes: corpus.bytes,
        },
    )?;
    let (schema, fields) = schema();
    let engine = engine_error(dir);
    let (index, mut done) = resume(dir, schema)?;
    index.tokenizers().register(ANALYSER_NAME, analyser());
    // One thread: the order of passages, and so the last bit of every score,
    // is the same in every build.
    let mut writer: IndexWriter = index
        .writer_with_num_threads(1, WRITER_BYTES)
        .map_err(&engine)?;
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let kept = done;
    let (mut read, mut last_kept) = (0, done.passages);
    corpus.read(&mut |document, bytes| {
        read += 1;
        if read <= kept.read {
            return match read.is_multiple_of(1_000) {
                true => {
                    let passages = kept.passages;
                    report(tell, BuildProgress::Indexed { bytes, passages })
                }
                false => Ok(()),
            };
        }
        let chunks = chunking.chunks(&document.id, &document.text);
        match chunks.is_empty() {
            true => done.empty_documents += 1,
            false => done.documents += 1,
        }
        for chunk in chunks {
            let mut row = TantivyDocument::new();
            row.add_text(fields.id, &chunk.id);
            row.add_text(fields.document, &document.id);
            row.add_u64(fields.start, chunk.range.start as u64);
            if let Some(title) = &document.title {
                row.add_text(fields.title, title);
                row.add_text(fields.words, title);
            }
            row.add_text(fields.text, chunk.text);
            row.add_text(fields.words, chunk.text);
            if let Err(killed) = writer.add_document(row) {
                // Only a commit asks the writer's thread what it died of.
                return Err(engine(writer.commit().err().unwrap_or(killed)));
            }
            done.passages += 1;
            if done.passages.is_multiple_of(1_000) {
                let passages = done.passages;
                report(tell, BuildProgress::Indexed { bytes, passages })?;
            }
        }
        done.read = read;
        if done.passages - last_kept >= KEPT_EVERY {
            last_kept = done.passages;
            keep(&mut writer, &done).map_err(&engine)?;
            fail::fail_point!("index::kept");
            let passages = done.passages;
            report(tell, BuildProgress::Indexed { bytes, passages })?;
        }
        Ok(())
    })?;
    if done.passages == 0 {
        return Err(IndexError::CorpusEmpty {
            path: corpus.path.clone(),
        });
    }
    keep(&mut writer, &done).map_err(&engine)?;
    let segments = index.searchable_segment_ids().map_err(&engine)?;
    if segments.len() > 1 {
        writer.merge(&segments).wait().map_err(&engine)?;
        writer.garbage_collect_files().wait().map_err(&engine)?;
    }
    writer.wait_merging_threads().map_err(&engine)?;
    // Open files of the engine would change under the checksums.
    drop(index);
    write_manifest(
        dir,
        json!({
            "kind": "bm25",
            "corpus": corpus.path,
            "corpus_identity": corpus_identity,
            "chunking": chunking.identity(),
            "analyser": ANALYSER,
            "documents": done.documents,
            "empty_documents": done.empty_documents,
            "passages": done.passages,
        }),
    )?;
    report(
        tell,
        BuildProgress::Finished {
            kind: "bm25",
            passages: done.passages,
            empty_documents: done.empty_documents,
            seconds: started.elapsed().as_secs_f64(),
        },
    )
}

/// Makes what was added last, on disk and for good, with how far that is.
fn keep(writer: &mut IndexWriter, done: &Done) -> tantivy::Result<()> {
    let mut commit = writer.prepare_commit()?;
    // Four numbers always serialise.
    commit.set_payload(&serde_json::to_string(done).unwrap_or_default());
    commit.commit()?;
    Ok(())
}

/// An open BM25 index.
pub(super) struct Bm25 {
    path: PathBuf,
    searcher: Searcher,
    fields: Fields,
    analyser: TextAnalyzer,
    /// Ids of every segment.
    ids: Vec<StrColumn>,
}

impl Bm25 {
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let engine = engine_error(path);
        read_manifest(path)?;
        let index = Index::open_in_dir(path).map_err(&engine)?;
        let (wanted, fields) = schema();
        if index.schema() != wanted {
            return Err(broken(path, "it has other fields than this version writes"));
        }
        index.tokenizers().register(ANALYSER_NAME, analyser());
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(&engine)?;
        let searcher = reader.searcher();
        let mut ids = Vec::new();
        for segment in searcher.segment_readers() {
            let column = segment.fast_fields().str("id").map_err(&engine)?;
            ids.push(column.ok_or_else(|| broken(path, "a segment has no ids"))?);
        }
        Ok(Self {
            path: path.to_owned(),
            searcher,
            fields,
            analyser: analyser(),
            ids,
        })
    }

    /// The directory of the index.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory's name.
    pub fn name(&self) -> String {
        let name = self.path.file_name();
        name.map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Number of passages.
    pub fn passages(&self) -> u64 {
        self.searcher.num_docs()
    }

    fn query(&self, text: &str) -> BooleanQuery {
        let mut words: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        let mut analyser = self.analyser.clone();
        let mut tokens = analyser.token_stream(text);
        while words.len() < MAX_QUERY_WORDS && tokens.advance() {
            let term = Term::from_field_text(self.fields.words, &tokens.token().text);
            let query = TermQuery::new(term, IndexRecordOption::WithFreqs);
            words.push((Occur::Should, Box::new(query)));
        }
        BooleanQuery::new(words)
    }

    /// For every query the `limit` best passages. A query is plain text: no
    /// character of it has a meaning of its own. Passages that share no word
    /// with it are not found, so there may be fewer.
    pub fn search(&self, queries: &[&str], limit: usize) -> Result<Vec<Vec<Hit>>, IndexError> {
        queries
            .par_iter()
            .map(|query| self.search_one(query, limit))
            .collect()
    }

    fn search_one(&self, text: &str, top_k: usize) -> Result<Vec<Hit>, IndexError> {
        let engine = engine_error(&self.path);
        let there = usize::try_from(self.passages()).unwrap_or(usize::MAX);
        let top_k = top_k.min(there);
        if top_k == 0 {
            return Ok(Vec::new());
        }
        let query = self.query(text);
        let mut limit = (top_k + EXTRA).min(there);
        let found = loop {
            let collector = TopDocs::with_limit(limit).order_by_score();
            let found = self.searcher.search(&query, &collector).map_err(&engine)?;
            let is_tie_cut =
                found.len() == limit && limit < there && found[limit - 1].0 == found[top_k - 1].0;
            if !is_tie_cut {
                break found;
            }
            limit = limit.saturating_mul(4).min(there);
        };
        let mut hits = Vec::with_capacity(found.len());
        for (score, address) in found {
            hits.push(Hit {
                side: Side::Sparse,
                row: row_of(address),
                id: self.id(address)?,
                score: f64::from(score),
            });
        }
        hits.sort_by(Hit::order);
        hits.truncate(top_k);
        Ok(hits)
    }

    /// Tells the id of every passage, some more than once.
    pub fn ids(&self, tell: &mut dyn FnMut(&str)) -> Result<(), IndexError> {
        let mut id = String::new();
        for column in &self.ids {
            for ord in 0..column.num_terms() as u64 {
                id.clear();
                column
                    .ord_to_str(ord, &mut id)
                    .map_err(io_error(&self.path))?;
                tell(&id);
            }
        }
        Ok(())
    }

    fn id(&self, address: DocAddress) -> Result<String, IndexError> {
        let mut id = String::new();
        let column = self.ids.get(address.segment_ord as usize);
        let column = column.ok_or_else(|| broken(&self.path, "it has fewer segments"))?;
        if let Some(ord) = column.ords().first(address.doc_id) {
            column
                .ord_to_str(ord, &mut id)
                .map_err(io_error(&self.path))?;
        }
        Ok(id)
    }

    /// A passage that was found.
    pub fn passage(&self, row: u64) -> Result<Passage, IndexError> {
        let address = address_of(row);
        let id = self.id(address)?;
        let stored: TantivyDocument = self
            .searcher
            .doc(address)
            .map_err(engine_error(&self.path))?;
        let text_of = |field| {
            stored
                .get_first(field)
                .and_then(|value| value.as_str())
                .map(str::to_owned)
        };
        Ok(Passage {
            id,
            title: text_of(self.fields.title),
            text: text_of(self.fields.text).unwrap_or_default(),
            score: 0.0,
        })
    }
}

/// Segment and document in one number; they never change in a built index.
fn row_of(address: DocAddress) -> u64 {
    u64::from(address.segment_ord) << 32 | u64::from(address.doc_id)
}

fn address_of(row: u64) -> DocAddress {
    DocAddress::new((row >> 32) as u32, row as u32)
}
