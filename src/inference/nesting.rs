//! How deep a chat template's values may be nested, and how much of them it
//! may write.
//!
//! The engine prints, compares and drops values by recursion. A namespace is
//! the only value that can be changed, so that it alone could come to hold
//! itself, by whatever name or in whatever list.

use minijinja::{
    Error, ErrorKind, State, Value, functions,
    value::{DynObject, ValueKind},
};
use std::sync::LazyLock;

/// Lists in lists that a template may name or hold.
const DEEPEST: usize = 64;

/// Lets a value have a name.
///
/// # Errors
/// Where it is nested too deep.
pub fn named(state: &mut State<'_, '_>, value: &Value) -> Result<Value, Error> {
    look(state, value, DEEPEST, false)?;
    Ok(value.clone())
}

/// Lets a namespace hold a value.
///
/// # Errors
/// Where it is nested too deep, or has something in it that can change.
pub fn held(state: &mut State<'_, '_>, value: &Value) -> Result<Value, Error> {
    look(state, value, DEEPEST, true)?;
    Ok(value.clone())
}

fn look(
    state: &mut State<'_, '_>,
    value: &Value,
    levels: usize,
    for_namespace: bool,
) -> Result<(), Error> {
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    if is_loop(object) || is_namespace(object) {
        if for_namespace {
            return Err(wrong("a namespace can not hold a namespace or a loop"));
        }
        // A loop's own items are not printed with it.
        if is_loop(object) {
            return Ok(());
        }
    }
    let Some(levels) = levels.checked_sub(1) else {
        return Err(wrong(&format!(
            "values are nested more than {DEEPEST} deep"
        )));
    };
    state.consume_fuel(1)?;
    let Some(items) = object.try_iter() else {
        return Ok(());
    };
    let is_map = value.kind() == ValueKind::Map;
    for item in items {
        state.consume_fuel(1)?;
        look(state, &item, levels, for_namespace)?;
        if is_map {
            look(state, &value.get_item(&item)?, levels, for_namespace)?;
        }
    }
    Ok(())
}

/// Lets a value be a factor. A list that is repeated is not made but when it is
/// looked at, by whoever looks at it.
///
/// # Errors
/// Where it is a list.
pub fn factor(value: &Value) -> Result<Value, Error> {
    match value.as_object() {
        Some(_) => Err(wrong("lists can not be multiplied")),
        None => Ok(value.clone()),
    }
}

/// Lets a value be written into a text.
///
/// # Errors
/// Where its items, and theirs, are more than the fuel pays for: the engine
/// counts what it has written.
pub fn part(state: &mut State<'_, '_>, value: &Value) -> Result<Value, Error> {
    pay_to_write(state, value)?;
    Ok(value.clone())
}

/// Pays for the items of a list, and theirs, before they are written.
///
/// # Errors
/// Where the fuel does not suffice.
pub fn pay_to_write(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let Some(object) = value.as_object() else {
        return state.consume_fuel(value.as_str().map_or(0, str::len) as u64 / 16);
    };
    state.consume_fuel(1)?;
    if is_loop(object) {
        return Ok(());
    }
    let is_map = value.kind() == ValueKind::Map;
    for item in object.try_iter().into_iter().flatten() {
        state.consume_fuel(1)?;
        pay_to_write(state, &item)?;
        if is_map {
            pay_to_write(state, &value.get_item(&item)?)?;
        }
    }
    Ok(())
}

/// The type is the engine's own; its name is asked of one of them.
fn is_namespace(object: &DynObject) -> bool {
    static NAME: LazyLock<Option<&'static str>> = LazyLock::new(|| {
        let namespace = functions::namespace(None).ok()?;
        namespace.as_object().map(DynObject::type_name)
    });
    *NAME == Some(object.type_name())
}

/// A loop knows the items before and after the present one.
fn is_loop(object: &DynObject) -> bool {
    object.type_name().ends_with("::Loop")
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.to_owned())
}
