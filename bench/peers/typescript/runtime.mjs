// The loop of a Lambda runtime, no more than it needs: Lambda's own client wants a compiler to install.

import http from 'node:http';

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');

const call = (method, path, body) =>
  new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const request = http.request({ host, port, method, headers, agent, path: `/2018-06-01/runtime/${path}` }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => resolve({ headers: answer.headers, body: Buffer.concat(chunks).toString() }));
      answer.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });

const said = (error) => JSON.stringify({ errorType: error.name, errorMessage: error.message });

let handler;
try {
  ({ handler } = await import('./function.mjs'));
} catch (error) {
  await call('POST', 'init/error', said(error));
  process.exit(1);
}
for (;;) {
  const { headers, body } = await call('GET', 'invocation/next');
  const id = headers['lambda-runtime-aws-request-id'];
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  const context = {
    awsRequestId: id,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
  try {
    const answer = await handler(JSON.parse(body), context);
    await call('POST', `invocation/${id}/response`, JSON.stringify(answer));
  } catch (error) {
    await call('POST', `invocation/${id}/error`, said(error));
  }
}
