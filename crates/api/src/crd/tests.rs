use super::*;

/// Calls `check` for every schema below, with its path.
fn walk(path: &str, schema: &Value, check: &mut impl FnMut(&str, &Value)) {
    check(path, schema);
    for key in ["items", "additionalProperties"] {
        if let Some(part) = schema.get(key) {
            walk(&format!("{path}[]"), part, check);
        }
    }
    for (name, part) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(&format!("{path}.{name}"), part, check);
    }
}

#[test]
fn schemas_are_structural_and_keep_unknown_fields() {
    for crd in crds() {
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
            walk("spec", spec, &mut |path, schema| {
                assert!(schema["type"].is_string(), "{path}: {schema}");
                for key in ["$ref", "anyOf", "oneOf", "allOf", "default", "format"] {
                    assert!(schema.get(key).is_none(), "{path} has {key}: {schema}");
                }
                let keeps = schema.get("x-kubernetes-preserve-unknown-fields").is_some();
                assert_eq!(schema.get("properties").is_some(), keeps, "{path}");
                assert!(!schema["description"].as_str().unwrap_or_default().contains("[`"), "{path}");
            });
        }
    }
}

#[test]
fn the_stored_version_is_the_first() {
    for crd in crds() {
        let versions = crd["spec"]["versions"].as_array().unwrap();
        let stored: Vec<_> =
            versions.iter().map(|v| (v["name"].as_str().unwrap(), v["storage"] == true)).collect();
        let ours = crd["spec"]["group"] == umbra_ir::UMBRA_GROUP;
        let istio = [("v1", true), ("v1beta1", false), ("v1alpha3", false)];
        assert_eq!(stored, if ours { &[("v1alpha1", true)][..] } else { &istio });
        assert!(versions.iter().all(|v| v["subresources"]["status"].is_object()));
    }
}

#[test]
fn columns() {
    let names = |crd: &Value| -> Vec<String> {
        let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap().clone();
        columns.iter().map(|column| column["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&crds()[0]), ["Hosts", "Gateways", "Accepted", "Mirrors", "Age"]);
}

/// Every rule stands where it belongs: a renamed field must not lose one in silence.
#[test]
fn rules_are_in_place() {
    let crds = crds();
    let http = crds[0]
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/http/items")
        .unwrap();
    let count =
        |path: &str| http.pointer(path).unwrap()["x-kubernetes-validations"].as_array().unwrap().len();
    assert_eq!(count(""), 3);
    assert_eq!(count("/properties/mirrorPercentage"), 2);
    assert_eq!(count("/properties/mirror_percentage"), 2);
    assert_eq!(count("/properties/mirrors/items"), 1);
    assert_eq!(count("/properties/mirrors/items/properties/percentage"), 2);
    assert_eq!(count("/properties/route/items"), 1);
    for field in ["mirrorPercent", "mirror_percent"] {
        assert_eq!(http["properties"][field]["type"], "integer", "{field}");
    }
}
