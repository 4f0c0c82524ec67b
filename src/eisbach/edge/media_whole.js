// Segments through the front come whole or from the other region: an origin that dies in the middle of a body has
// already sent the head, and nginx alone would pass the torn body on. For plain clients only; players ask the origins.
const KEPT = ['Content-Type', 'Content-Range', 'Accept-Ranges', 'Cache-Control', 'ETag', 'Last-Modified',
    'Eisbach-Region', 'Access-Control-Allow-Origin', 'Access-Control-Expose-Headers', 'Timing-Allow-Origin'];

function whole(reply) {
    const told = reply.headersOut['Content-Length'];
    const body = reply.responseBuffer;
    return told === undefined || (body !== undefined && body.length === Number(told));
}

async function segment(r) {
    if (r.method !== 'GET') {
        r.internalRedirect('/=media');
        return;
    }
    let reply = await r.subrequest('/=media_first');
    if (!whole(reply)) {
        reply = await r.subrequest('/=media_second');
    }
    if (!whole(reply)) {
        r.internalRedirect('/=lost');
        return;
    }
    KEPT.forEach((name) => {
        if (reply.headersOut[name] !== undefined) {
            r.headersOut[name] = reply.headersOut[name];
        }
    });
    r.return(reply.status, reply.responseBuffer);
}

export default { segment };
