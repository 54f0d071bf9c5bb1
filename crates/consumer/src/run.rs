//! The Lambda runtime around a consumer.

use std::{sync::Arc, time::SystemTime};

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, Runtime, layers::TracingLayer, service_fn};

use crate::{
    batch::Consumer,
    invocation::Invocation,
    metrics,
    shutdown::{Counting, Shutdown},
    start_error::StartError,
};

/// Serves invocations: one at a time, or as many at once as `AWS_LAMBDA_MAX_CONCURRENCY` says (Lambda
/// Managed Instances).
pub(crate) async fn serve(consumer: Consumer) -> Result<(), StartError> {
    let shutdown = Arc::clone(&consumer.shutdown);
    Shutdown::on_sigterm(&shutdown).await;
    #[cfg(feature = "otel")]
    let traces = Arc::new(crate::traces::Traces::from_env(&consumer.name)?);
    let consumer = Arc::new(consumer);
    let invoke = move |event: LambdaEvent<SqsEvent>| {
        let consumer = Arc::clone(&consumer);
        #[cfg(feature = "otel")]
        let traces = Arc::clone(&traces);
        async move {
            // The runtime gives a point in wall-clock time; from here on only time passed counts.
            let time_left = event.context.deadline().duration_since(SystemTime::now());
            #[cfg_attr(
                not(feature = "otel"),
                expect(unused_mut, reason = "its trace is set with the feature")
            )]
            let mut invocation = Invocation::new(event.context.request_id, time_left.unwrap_or_default());
            #[cfg(feature = "otel")]
            let traced = (*traces)
                .as_ref()
                .map(|traces| (traces, traces.begin(&invocation.request_id, &event.payload)));
            #[cfg(all(feature = "otel", feature = "dynamodb"))]
            {
                invocation.trace = traced.as_ref().and_then(|(_, traced)| traced.trace);
            }
            let settled = consumer.settle_batch(event.payload, &invocation).await;
            #[cfg(feature = "otel")]
            if let Some((traces, traced)) = traced {
                traces
                    .told(traced, settled.as_ref().ok(), invocation.budget.tell_until)
                    .await;
            }
            let settlement = settled.map_err(lambda_runtime::Error::from)?;
            let is_handled = |event_type: &str| consumer.router.handles(event_type);
            metrics::write(&consumer.name, is_handled, &settlement);
            Ok::<_, lambda_runtime::Error>(settlement.response())
        }
    };
    Runtime::new(service_fn(invoke))
        .layer(TracingLayer::new())
        .layer(Counting(shutdown))
        .run_concurrent()
        .await
        .map_err(StartError::Runtime)
}
