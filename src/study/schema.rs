use super::keys::{Key, STUDY, Shape, Status};
use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

/// The JSON schema of a study file, for editors. `conf/schema/` holds it.
pub fn schema() -> Value {
    let mut definitions = Map::new();
    let mut top = mapping(STUDY, &mut definitions);
    top.insert(
        "patternProperties".to_owned(),
        json!({ "^x-": { "description": "Ignored: a place for anchors." } }),
    );
    top.insert("required".to_owned(), json!(["name"]));
    definitions.sort_keys();
    top.insert("$defs".to_owned(), Value::Object(definitions));
    let mut whole = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ragicamp study",
        "description": "A grid of question answering experiments.",
    });
    whole.ensure_object().extend(top.ensure_object().clone());
    whole.to_value()
}

fn mapping(keys: &[Key], definitions: &mut Map<String, Value>) -> Schema {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key, definitions).to_value()))
        .collect();
    json_schema!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn property(key: &Key, definitions: &mut Map<String, Value>) -> Schema {
    let mut schema = shape(&key.shape, definitions);
    schema.insert("description".to_owned(), json!(key.doc));
    match key.status {
        Status::Used => {}
        Status::Alias => {
            schema.insert("deprecated".to_owned(), json!(true));
        }
        Status::Ignored(why) => {
            schema.insert("deprecated".to_owned(), json!(true));
            schema.insert("description".to_owned(), json!(format!("Ignored: {why}.")));
        }
    }
    schema
}

fn shape(shape_of: &Shape, definitions: &mut Map<String, Value>) -> Schema {
    match shape_of {
        Shape::Text => json_schema!({ "type": "string", "minLength": 1 }),
        Shape::Bool => json_schema!({ "type": "boolean" }),
        Shape::Integer(min) => json_schema!({ "type": "integer", "minimum": min }),
        Shape::Number(min, max) => {
            json_schema!({ "type": "number", "minimum": min, "maximum": max })
        }
        Shape::Words(words) => json_schema!({ "enum": words }),
        Shape::Duration => json_schema!({
            "anyOf": [
                { "type": "number", "exclusiveMinimum": 0 },
                { "type": "string", "pattern": "^\\s*([0-9.]+\\s*[a-zA-Z]*\\s*)+$" },
            ]
        }),
        Shape::Any => json_schema!({}),
        Shape::List(item) => {
            let item = shape(item, definitions);
            json_schema!({ "type": "array", "items": item })
        }
        Shape::OneOrMany(item) => {
            let item = shape(item, definitions);
            json_schema!({ "anyOf": [item, { "type": "array", "items": item }] })
        }
        Shape::Nullable(item) => {
            let item = shape(item, definitions);
            json_schema!({ "anyOf": [item, { "type": "null" }] })
        }
        Shape::Either(shapes) => {
            let shapes: Vec<Schema> = shapes.iter().map(|one| shape(one, definitions)).collect();
            json_schema!({ "anyOf": shapes })
        }
        Shape::Map(name, keys) => {
            if !definitions.contains_key(*name) {
                // The name is taken first: a mapping may contain itself.
                definitions.insert((*name).to_owned(), Value::Null);
                let definition = mapping(keys, definitions).to_value();
                definitions.insert((*name).to_owned(), definition);
            }
            json_schema!({ "$ref": format!("#/$defs/{name}") })
        }
    }
}
