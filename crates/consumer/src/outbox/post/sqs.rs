//! Amazon SQS, standard and FIFO.

use aws_sdk_sqs::{
    Client,
    error::BuildError,
    types::{MessageAttributeValue, SendMessageBatchRequestEntry},
};

use super::{Answers, answers, place};
use crate::{
    outbox::{Letter, Target},
    sdk_error::describe,
};

pub(super) async fn send(client: &Client, to: &Target, letters: &[Letter]) -> Answers {
    let all = |error: String| vec![Err(error); letters.len()];
    let entries = letters.iter().enumerate();
    let entries = entries.map(|(index, letter)| entry(index, letter));
    let Ok(entries) = entries.collect::<Result<Vec<_>, _>>() else {
        return all("an incomplete message".to_owned());
    };
    let request = client.send_message_batch().queue_url(&to.address);
    let output = match request.set_entries(Some(entries)).send().await {
        Ok(output) => output,
        Err(error) => return all(describe(&error)),
    };
    let taken = output.successful().iter().map(|entry| place(entry.id()));
    let failed = output.failed().iter();
    let failed = failed.map(|entry| (place(entry.id()), entry.code().to_owned()));
    answers(letters.len(), taken, failed)
}

fn entry(index: usize, letter: &Letter) -> Result<SendMessageBatchRequestEntry, BuildError> {
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .message_body(&letter.body)
        .message_group_id(&letter.group);
    if letter.to.keeps_order() {
        entry = entry.message_deduplication_id(letter.id.to_string());
    }
    for (name, value) in &letter.attributes {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value);
        entry = entry.message_attributes(*name, value.build()?);
    }
    entry.build()
}
