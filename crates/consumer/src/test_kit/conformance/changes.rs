//! What a write makes of an item, and which writes are none.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{Place, Verdict, named, texts};
use crate::{
    Attribute,
    dynamodb::store::{Cancellation, Changes},
};

pub(super) async fn a_put_replaces_the_whole_item(place: &Place) -> Verdict {
    place
        .commits(&[place.put("a", &[("old", 1.into()), ("both", 1.into())])])
        .await?;
    // The key's attributes win.
    place
        .commits(&[place.put("a", &[("both", 2.into()), ("pk", "elsewhere".into())])])
        .await?;
    place.has("a", &[("both", 2.into())]).await
}

pub(super) async fn an_update_changes_what_it_names(place: &Place) -> Verdict {
    let before = [
        ("stays", "s".into()),
        ("set", 1.into()),
        ("kept", 1.into()),
        ("sum", 40.into()),
        ("gone", 1.into()),
    ];
    place.commits(&[place.put("a", &before)]).await?;
    let changes = Changes {
        set: named(&[("set", "two".into())]),
        set_if_absent: named(&[("kept", 2.into()), ("new", 3.into())]),
        add: named(&[("sum", 2.into()), ("from_nothing", (-1).into())]),
        remove: vec!["gone".to_owned(), "never_there".to_owned()],
        ..Changes::default()
    };
    place.commits(&[place.update("a", changes)]).await?;
    let after = [
        ("stays", "s".into()),
        ("set", "two".into()),
        ("kept", 1.into()),
        ("new", 3.into()),
        ("sum", 42.into()),
        ("from_nothing", (-1).into()),
    ];
    place.has("a", &after).await
}

pub(super) async fn an_update_makes_the_item(place: &Place) -> Verdict {
    place.commits(&[place.update("a", adding("n", 1.into()))]).await?;
    place.has("a", &[("n", 1.into())]).await?;
    let removing = Changes {
        remove: vec!["n".to_owned()],
        ..Changes::default()
    };
    place.commits(&[place.update("b", removing)]).await?;
    place.has("b", &[]).await
}

pub(super) async fn sets_are_added_to(place: &Place) -> Verdict {
    let blobs = |bytes: &[u8]| {
        let blobs = bytes.iter().map(|byte| vec![*byte].into());
        Attribute(AttributeValue::Bs(blobs.collect()))
    };
    for (first, more, all) in [
        (texts(&["x"]), texts(&["x", "y"]), texts(&["x", "y"])),
        (blobs(&[1]), blobs(&[1, 2]), blobs(&[1, 2])),
    ] {
        place.commits(&[place.delete("a")]).await?;
        place.commits(&[place.update("a", adding("set", first))]).await?;
        place.commits(&[place.update("a", adding("set", more))]).await?;
        let is_whole = crate::Condition::equals("set", all);
        place.judges("a", vec![("the sum", is_whole, true)]).await?;
    }
    Ok(())
}

pub(super) async fn a_sum_with_something_else_is_canceled(place: &Place) -> Verdict {
    place.commits(&[place.put("a", &[("n", "one".into())])]).await?;
    let writes = [place.put("b", &[]), place.update("a", adding("n", 1.into()))];
    let invalid = Cancellation::Invalid("ValidationError".to_owned());
    place.cancels(&writes, vec![Cancellation::None, invalid]).await?;
    place.has("a", &[("n", "one".into())]).await?;
    place.lacks("b").await
}

pub(super) async fn only_numbers_and_sets_are_added(place: &Place) -> Verdict {
    place.refuses(&[place.update("a", adding("s", "text".into()))]).await?;
    place.lacks("a").await
}

pub(super) async fn the_key_is_not_updated(place: &Place) -> Verdict {
    place.commits(&[place.put("a", &[])]).await?;
    let changes = Changes {
        set: named(&[("pk", "elsewhere".into())]),
        ..Changes::default()
    };
    place.turns_down(place.update("a", changes)).await?;
    place.has("a", &[]).await
}

pub(super) async fn an_update_changes_something(place: &Place) -> Verdict {
    place.refuses(&[place.update("a", Changes::default())]).await?;
    place.lacks("a").await
}

pub(super) async fn an_attribute_is_changed_once(place: &Place) -> Verdict {
    let twice = Changes {
        set: named(&[("n", 1.into()), ("n", 2.into())]),
        ..Changes::default()
    };
    place.refuses(&[place.update("a", twice)]).await?;
    let both = Changes {
        remove: vec!["n".to_owned()],
        ..adding("n", 1.into())
    };
    place.refuses(&[place.update("a", both)]).await?;
    place.lacks("a").await
}

pub(super) async fn no_key_is_empty(place: &Place) -> Verdict {
    let mut nameless = place.put("a", &[]);
    nameless.key = crate::Key::new("pk", "");
    place.refuses(&[nameless]).await
}

pub(super) async fn no_set_is_empty(place: &Place) -> Verdict {
    place.refuses(&[place.put("a", &[("set", texts(&[]))])]).await?;
    place.lacks("a").await
}

fn adding(name: &str, value: Attribute) -> Changes {
    Changes {
        add: named(&[(name, value)]),
        ..Changes::default()
    }
}

pub(super) async fn a_list_is_appended_to_in_order(place: &Place) -> Verdict {
    let list = |texts: &[&str]| {
        let members = texts.iter().map(|text| AttributeValue::S((*text).to_owned()));
        Attribute(AttributeValue::L(members.collect()))
    };
    let appending = |texts: &[&str], n: i64| Changes {
        set: named(&[("n", n.into())]),
        append: vec![("list".to_owned(), list(texts))],
        ..Changes::default()
    };
    place.commits(&[place.update("a", appending(&["b", "a"], 1))]).await?;
    place.commits(&[place.update("a", appending(&["c"], 2))]).await?;
    place
        .has("a", &[("n", 2.into()), ("list", list(&["b", "a", "c"]))])
        .await
}
