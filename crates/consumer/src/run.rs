//! The Lambda runtime around a consumer.

use std::time::SystemTime;

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, service_fn};

use crate::{batch::Consumer, invocation::Invocation, start_error::StartError};

pub(crate) async fn serve(consumer: Consumer) -> Result<(), StartError> {
    let consumer = &consumer;
    let invoke = move |event: LambdaEvent<SqsEvent>| async move {
        // The runtime gives a point in wall-clock time; from here on only time passed counts.
        let time_left = event
            .context
            .deadline()
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        let invocation = Invocation::new(event.context.request_id, time_left);
        consumer
            .handle_batch(event.payload, &invocation)
            .await
            .map_err(lambda_runtime::Error::from)
    };
    lambda_runtime::run(service_fn(invoke))
        .await
        .map_err(StartError::Runtime)
}
