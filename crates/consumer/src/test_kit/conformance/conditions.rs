//! What conditions hold of, and that nothing is written where they do not.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{Place, Verdict, only_if, texts};
use crate::{Attribute, Condition, dynamodb::store::Changes};

pub(super) async fn a_put_where_nothing_may_be(place: &Place) -> Verdict {
    let put = |own: &str| only_if(place.put("a", &[("own", own.into())]), Condition::absent("pk"));
    place.commits(&[put("first")]).await?;
    place.declines(put("second")).await?;
    place.has("a", &[("own", "first".into())]).await
}

pub(super) async fn an_update_of_what_must_be_there(place: &Place) -> Verdict {
    let changes = Changes {
        set: vec![("st".to_owned(), "done".into())],
        ..Changes::default()
    };
    let update = || only_if(place.update("a", changes.clone()), Condition::exists("pk"));
    place.declines(update()).await?;
    place.lacks("a").await?;
    place.commits(&[place.put("a", &[])]).await?;
    place.commits(&[update()]).await?;
    place.has("a", &[("st", "done".into())]).await
}

pub(super) async fn a_delete_by_its_owner(place: &Place) -> Verdict {
    let delete = |own: &str| only_if(place.delete("a"), Condition::equals("own", own));
    place.declines(delete("mine")).await?;
    place.commits(&[place.put("a", &[("own", "mine".into())])]).await?;
    place.declines(delete("another's")).await?;
    place.has("a", &[("own", "mine".into())]).await?;
    place.commits(&[delete("mine")]).await?;
    place.lacks("a").await?;
    // Without a condition there may be nothing to delete.
    place.commits(&[place.delete("a")]).await
}

pub(super) async fn a_take_over_of_what_has_expired(place: &Place) -> Verdict {
    // As strings, 999 would be more than 1000.
    place
        .commits(&[place.put("a", &[("own", "old".into()), ("until", 1000_i64.into())])])
        .await?;
    let take = |now: i64| {
        let is_over = Condition::absent("pk").or(Condition::less_than("until", now));
        only_if(
            place.put("a", &[("own", "new".into()), ("until", (now + 1).into())]),
            is_over,
        )
    };
    place.declines(take(999)).await?;
    place.declines(take(1000)).await?;
    place
        .has("a", &[("own", "old".into()), ("until", 1000_i64.into())])
        .await?;
    place.commits(&[take(1001)]).await?;
    place
        .has("a", &[("own", "new".into()), ("until", 1002_i64.into())])
        .await
}

pub(super) async fn a_check_changes_nothing(place: &Place) -> Verdict {
    place.commits(&[place.check("a", Condition::absent("pk"))]).await?;
    place.lacks("a").await?;
    place.declines(place.check("a", Condition::exists("pk"))).await?;
    place.commits(&[place.put("a", &[("n", 1.into())])]).await?;
    place.commits(&[place.check("a", Condition::equals("n", 1))]).await?;
    place.has("a", &[("n", 1.into())]).await
}

pub(super) async fn numbers_compare_by_value(place: &Place) -> Verdict {
    const BEYOND_FLOATS: i64 = 9_007_199_254_740_993;
    let attributes = [("n", 10.into()), ("minus", (-2).into()), ("long", BEYOND_FLOATS.into())];
    place.commits(&[place.put("a", &attributes)]).await?;
    let decimal = |digits: &str| Attribute(AttributeValue::N(digits.to_owned()));
    let expected = vec![
        ("10 = 10", Condition::equals("n", 10), true),
        ("10 = 10.0", Condition::equals("n", decimal("10.0")), true),
        ("10 <> 10", Condition::differs("n", 10), false),
        ("10 <> 9", Condition::differs("n", 9), true),
        ("10 < 9", Condition::less_than("n", 9), false),
        ("10 < 10", Condition::less_than("n", 10), false),
        ("10 < 10.5", Condition::less_than("n", decimal("10.5")), true),
        ("10 < 11", Condition::less_than("n", 11), true),
        ("10 >= 9", Condition::at_least("n", 9), true),
        ("10 >= 10", Condition::at_least("n", 10), true),
        ("10 >= 11", Condition::at_least("n", 11), false),
        ("-2 < -1", Condition::less_than("minus", -1), true),
        ("-2 >= 1", Condition::at_least("minus", 1), false),
        (
            "beyond floats, equal",
            Condition::equals("long", BEYOND_FLOATS - 1),
            false,
        ),
        (
            "beyond floats, less",
            Condition::less_than("long", BEYOND_FLOATS + 1),
            true,
        ),
    ];
    place.judges("a", expected).await
}

pub(super) async fn strings_compare_by_bytes(place: &Place) -> Verdict {
    let attributes = [("digits", "10".into()), ("word", "b".into()), ("umlaut", "ä".into())];
    place.commits(&[place.put("a", &attributes)]).await?;
    let expected = vec![
        ("\"10\" < \"9\"", Condition::less_than("digits", "9"), true),
        ("\"10\" < \"1\"", Condition::less_than("digits", "1"), false),
        ("\"b\" < \"C\"", Condition::less_than("word", "C"), false),
        ("\"b\" >= \"b\"", Condition::at_least("word", "b"), true),
        ("\"b\" >= \"ba\"", Condition::at_least("word", "ba"), false),
        ("\"b\" = \"B\"", Condition::equals("word", "B"), false),
        ("\"ä\" < \"z\"", Condition::less_than("umlaut", "z"), false),
    ];
    place.judges("a", expected).await
}

pub(super) async fn another_type_is_different(place: &Place) -> Verdict {
    place
        .commits(&[place.put("a", &[("n", 5.into()), ("s", "5".into())])])
        .await?;
    let expected = vec![
        ("5 = \"5\"", Condition::equals("n", "5"), false),
        ("5 <> \"5\"", Condition::differs("n", "5"), true),
    ];
    place.judges("a", expected).await
}

pub(super) async fn another_type_is_neither_less_nor_more(place: &Place) -> Verdict {
    place
        .commits(&[place.put("a", &[("n", 5.into()), ("s", "5".into())])])
        .await?;
    let expected = vec![
        ("5 < \"6\"", Condition::less_than("n", "6"), false),
        ("5 >= \"4\"", Condition::at_least("n", "4"), false),
        ("\"5\" < 6", Condition::less_than("s", 6), false),
        ("\"5\" >= 4", Condition::at_least("s", 4), false),
    ];
    place.judges("a", expected).await
}

pub(super) async fn what_is_absent_only_differs(place: &Place) -> Verdict {
    place.commits(&[place.put("a", &[])]).await?;
    for name in ["a", "nobody"] {
        let expected = vec![
            ("exists", Condition::exists("n"), false),
            ("absent", Condition::absent("n"), true),
            ("=", Condition::equals("n", 0), false),
            ("<>", Condition::differs("n", 0), true),
            ("<", Condition::less_than("n", 1), false),
            (">=", Condition::at_least("n", -1), false),
        ];
        place.judges(name, expected).await?;
    }
    Ok(())
}

pub(super) async fn sets_are_equal_in_any_order(place: &Place) -> Verdict {
    place.commits(&[place.put("a", &[("set", texts(&["x", "y"]))])]).await?;
    let expected = vec![
        ("the same", Condition::equals("set", texts(&["x", "y"])), true),
        ("turned round", Condition::equals("set", texts(&["y", "x"])), true),
        ("a part", Condition::equals("set", texts(&["x"])), false),
        ("another", Condition::differs("set", texts(&["x", "z"])), true),
    ];
    place.judges("a", expected).await
}

pub(super) async fn conditions_are_joined(place: &Place) -> Verdict {
    place
        .commits(&[place.put("a", &[("own", "me".into()), ("n", 1.into())])])
        .await?;
    let (yes, no) = (|| Condition::equals("own", "me"), || Condition::equals("n", 2));
    let expected = vec![
        ("yes and yes", yes().and(yes()), true),
        ("yes and no", yes().and(no()), false),
        ("no and yes", no().and(yes()), false),
        ("no or yes", no().or(yes()), true),
        ("no or no", no().or(no()), false),
        ("yes or (yes and no)", yes().or(yes().and(no())), true),
        ("(yes or yes) and no", yes().or(yes()).and(no()), false),
    ];
    place.judges("a", expected).await
}

pub(super) async fn only_what_has_an_order_is_ordered(place: &Place) -> Verdict {
    place.commits(&[place.put("a", &[("is", true.into())])]).await?;
    place
        .judges("a", vec![("=", Condition::equals("is", true), true)])
        .await?;
    for condition in [
        Condition::at_least("is", true),
        Condition::less_than("set", texts(&["x"])),
    ] {
        place
            .refuses(&[place.check("a", Condition::exists("pk").or(condition))])
            .await?;
    }
    Ok(())
}
