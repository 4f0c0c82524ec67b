// CloudFront viewer-request of a region's media host: the same paths as the region's nginx origin elsewhere. What opens
// a path is the token in it; what goes on to cache and bucket is the path without it, so no cache key holds a token.
// A channel is files of titles: the cell that lists them signs a pass for each (kernel/tokens.py, pass_scope).
// It is put behind the imports and media_codec.js. Keys that cannot be read open nothing: 503, and the player goes on
// to the other region's host.
const CELLS = __CELLS__;      // any cell of the region has every manifest
const DOOR = __DOOR__;
const MANIFEST = /^\/t\/[^\/]*\/((?:vod|ch)\/([a-z0-9][a-z0-9_-]{0,63})\/(?:master\.m3u8|manifest\.mpd))$/;
const LIVE = /^\/t\/[^\/]*\/(ch\/([a-z0-9][a-z0-9_-]{0,63})\/[a-z0-9][a-z0-9_-]{0,63}\.m3u8)$/;
const PART = /^\/t\/[^\/]*\/ch\/([a-z0-9][a-z0-9_-]{0,63})\/(([a-z0-9][a-z0-9_-]{0,63})\/[a-z0-9][a-z0-9._-]{0,63}\/(?:init\.mp4|[1-9][0-9]{0,6}\.m4s))$/;
const FILE = /^\/t\/[^\/]*\/vod\/([a-z0-9][a-z0-9_-]{0,63}\/(?:[a-z0-9][a-z0-9_-]{0,63}\.(?:m3u8|vtt)|[a-z0-9][a-z0-9._-]{0,63}\/(?:init\.mp4|[1-9][0-9]{0,6}\.m4s)|img\/(?:poster\.jpg|sprite\.jpg|thumbs\.vtt)))$/;
const IMAGE = /^\/img\/([a-z0-9][a-z0-9_-]{0,63})\/(poster\.jpg|sprite\.jpg|thumbs\.vtt)$/;

async function handler(event) {
  const request = event.request;
  const uri = request.uri;
  if (request.method === 'OPTIONS') return answer(204, 'No Content', '', {
    'access-control-allow-methods': { value: 'GET, HEAD' }, 'access-control-max-age': { value: '86400' },
    'access-control-allow-headers': { value: 'Range, If-None-Match, If-Modified-Since' } });
  if (request.method !== 'GET' && request.method !== 'HEAD') return refusal(405, 'method');
  const pass = request.querystring.m;
  request.querystring = {};
  const image = IMAGE.exec(uri);
  if (image !== null) return onward(request, '/media/vod/' + image[1] + '/img/' + image[2]);
  if (!uri.startsWith('/t/')) return refusal(404, 'not_found');
  const path = PATH.exec(uri);
  if (path === null) return refusal(403, 'token_malformed');
  let keys;
  try {
    keys = JSON.parse(await cf.kvs().get('media-keys'));
  } catch (error) {
    return refusal(503, 'unavailable');
  }
  const now = Math.floor(Date.now() / 1000);
  const judged = verify(keys, path[1], path[2], now);
  if (judged !== 'ok') return refusal(403, judged);
  const manifest = MANIFEST.exec(uri);
  if (manifest !== null) return toCell(request, manifest, { t: { value: path[1] } });
  const live = LIVE.exec(uri);
  if (live !== null) return toCell(request, live, {});
  const part = PART.exec(uri);
  if (part !== null) {
    const scope = 'm' + crypto.createHash('sha256').update(part[1] + '/' + part[3]).digest('hex').slice(0, 40);
    const passed = verify(keys, pass === undefined ? '' : pass.value, scope, now);
    return passed === 'ok' ? onward(request, '/media/vod/' + part[2]) : refusal(403, passed);
  }
  const file = FILE.exec(uri);
  return file === null ? refusal(404, 'not_found') : onward(request, '/media/vod/' + file[1]);
}

function onward(request, uri) {
  delete request.headers['eisbach-cell'];
  request.uri = uri;
  return request;
}

// By asset or channel, so that a cell in trouble takes its share of them with it and no more; then the twin is asked.
// A live playlist is everybody's: it is asked for without a token, and cached as one.
function toCell(request, manifest, query) {
  const id = manifest[2];
  let sum = 0;
  for (let i = 0; i < id.length; i++) sum += id.charCodeAt(i);
  const cell = CELLS[sum % CELLS.length];
  onward(request, (DOOR === 'http-api' ? '/' + cell : '') + '/manifests/' + manifest[1]);
  request.headers['eisbach-cell'] = { value: cell };
  request.querystring = query;
  return request;
}

function refusal(status, code) {
  const names = { 403: 'Forbidden', 404: 'Not Found', 405: 'Method Not Allowed', 503: 'Service Unavailable' };
  const body = { type: 'about:blank', title: code.replace(/_/g, ' '), status: status, code: code };
  const more = { 'content-type': { value: 'application/problem+json' }, 'cache-control': { value: 'no-store' } };
  if (status === 503) more['retry-after'] = { value: '1' };
  return answer(status, names[status], JSON.stringify(body), more);
}

function answer(status, words, body, headers) {
  headers['access-control-allow-origin'] = { value: '*' };
  const made = { statusCode: status, statusDescription: words, headers: headers };
  if (body) made.body = { encoding: 'text', data: body };
  return made;
}
