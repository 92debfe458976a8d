//! Listing, checking and dropping what is there.

use super::*;
use crate::domain::{Failure, FailureClass};
use std::collections::BTreeSet;

fn built() -> (Place, Shelves, Vec<String>) {
    let place = Place::with_documents(20);
    let shelves = Shelves::new(&place.cache());
    let mut spec = place.spec(RetrieverKind::Hybrid, "none");
    spec.name = "both".into();
    let (both, _) = place.open(&spec).unwrap();
    shelves.remember(&spec, &both).unwrap();
    let mut words = place.spec(RetrieverKind::Bm25, "none");
    words.name = "words".into();
    let (index, _) = place.open(&words).unwrap();
    shelves.remember(&words, &index).unwrap();
    (place, shelves, both.directories())
}

#[test]
fn a_name_that_moves_to_another_index_is_told() {
    let (place, shelves, _) = built();
    let mut spec = place.spec(RetrieverKind::Bm25, "none");
    spec.name = "words".into();
    let (same, _) = place.open(&spec).unwrap();
    assert_eq!(shelves.remember(&spec, &same).unwrap(), None);
    fs::write(place.corpus(), "{\"id\":\"x\",\"text\":\"other\"}\n").unwrap();
    let (other, _) = place.open(&spec).unwrap();
    let before = shelves.remember(&spec, &other).unwrap();
    assert_eq!(before, Some(same.directories()));
    assert_eq!(shelves.resolve("words").unwrap(), other.directories());
}

#[test]
fn everything_is_listed_with_who_uses_it() {
    let (_place, shelves, _) = built();
    let list = shelves.list().unwrap();
    let kinds: Vec<&str> = list.iter().map(|shelved| shelved.kind.as_str()).collect();
    assert_eq!(kinds, ["bm25", "dense", "passages"]);
    assert_eq!(list[0].retrievers, ["both", "words"]);
    assert_eq!(list[1].retrievers, ["both"]);
    assert!(
        list.iter()
            .all(|shelved| shelved.state == ShelvedState::Ready)
    );
    assert!(
        list.iter()
            .all(|shelved| shelved.bytes > 0 && shelved.manifest["passages"] == 20)
    );
    assert_eq!(
        shelves.retriever("words").unwrap().kind,
        RetrieverKind::Bm25
    );
    assert!(
        Shelves::new(Path::new("/nowhere"))
            .list()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn names_are_retrievers_or_the_beginnings_of_directories() {
    let (_place, shelves, both) = built();
    assert_eq!(shelves.resolve("both").unwrap(), both);
    assert_eq!(shelves.resolve("dense").unwrap(), both[1..]);
    let unknown = shelves.resolve("boht").unwrap_err();
    assert!(
        unknown
            .to_string()
            .starts_with("there is no index 'boht' in ")
    );
    let Unknown::Nothing { known, .. } = unknown else {
        panic!("{unknown}");
    };
    assert!(known.contains(&"both".to_owned()));
    assert!(shelves.resolve("").is_err());
}

#[test]
fn the_beginning_of_several_names_says_which_they_are() {
    let place = Place::with_documents(20);
    let shelves = Shelves::new(&place.cache());
    for chunking in ["none", "fixed"] {
        place
            .open(&place.spec(RetrieverKind::Bm25, chunking))
            .unwrap();
    }
    let several = shelves.resolve("bm25-").unwrap_err();
    let Unknown::Several { directories, .. } = &several else {
        panic!("{several}");
    };
    assert_eq!(directories.len(), 2);
    assert!(several.to_string().contains(&directories[1]), "{several}");
}

#[test]
fn a_cache_that_takes_nothing_is_the_environment_s_fault_and_names_the_flag() {
    let place = Place::with_documents(20);
    fs::write(place.cache(), "no directory").unwrap();
    for kind in [RetrieverKind::Bm25, RetrieverKind::Dense] {
        let Err(error) = place.open(&place.spec(kind, "none")) else {
            panic!("an index in a file");
        };
        let failure = Failure::from(error);
        assert_eq!(failure.class, FailureClass::Environment, "{failure}");
        let said = failure.message;
        assert!(
            said.contains("--cache or RAGICAMP_CACHE") && !said.contains('\n'),
            "{said}"
        );
    }
    // Looking at what is kept makes nothing.
    let nowhere = place.dir.path().join("nowhere");
    assert!(Cache::open_existing(&nowhere).unwrap().is_none());
    assert!(!nowhere.exists());
}

#[test]
fn every_id_of_an_index_is_told() {
    let place = Place::with_documents(20);
    for kind in [RetrieverKind::Bm25, RetrieverKind::Dense] {
        let (index, _) = place.open(&place.spec(kind, "none")).unwrap();
        let mut ids = BTreeSet::new();
        index
            .ids(&mut |id| {
                ids.insert(id.to_owned());
            })
            .unwrap();
        assert_eq!(ids.len(), 20, "{ids:?}");
        assert!(ids.contains("p0007"), "{ids:?}");
    }
}

#[test]
fn a_changed_byte_is_found_and_named() {
    let (place, shelves, both) = built();
    for directory in &both {
        assert!(shelves.verify(directory).unwrap().is_empty());
    }
    let vectors = place.cache().join(&both[1]).join("vectors");
    let mut bytes = fs::read(&vectors).unwrap();
    bytes[70] ^= 1;
    fs::write(&vectors, &bytes).unwrap();
    assert_eq!(
        shelves.verify(&both[1]).unwrap(),
        ["vectors has another content than was written"]
    );
    fs::remove_file(&vectors).unwrap();
    assert_eq!(shelves.verify(&both[1]).unwrap(), ["vectors is missing"]);
}

#[test]
fn dropping_takes_the_passages_along_that_nothing_else_needs() {
    let (_place, shelves, both) = built();
    let dropped = shelves.drop(&both[1..]).unwrap();
    assert_eq!(dropped.len(), 2, "{dropped:?}");
    let list = shelves.list().unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].retrievers, ["words"], "the hybrid is forgotten");
    assert!(shelves.retriever("both").is_none());
}
