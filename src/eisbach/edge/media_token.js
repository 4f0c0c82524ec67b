// Media tokens at the origin: the same strict codec as kernel/tokens.py, in njs. tests/edge hold both to one table.
//
// A token is read from the raw request line, before nginx decodes anything: there is one spelling of a valid token.
// `media_keys` is preloaded from keys.json (kid -> hexadecimal key, mode 0600); the configuration holds no key.
import crypto from 'crypto';

const TOKEN = /^([a-z0-9]{1,8})\.([1-9][0-9]{9})\.([a-z0-9][a-z0-9_-]{0,63})\.([A-Za-z0-9_-]{43})$/;
const PATH = /^\/t\/([^\/?]*)\/(?:vod|ch)\/([^\/?]*)\//;

// "ok", or the code of the refusal.
function verify(token, scope, nowS) {
    const parts = TOKEN.exec(token);
    if (parts === null) {
        return 'token_malformed';
    }
    const kid = parts[1];
    if (!Object.prototype.hasOwnProperty.call(media_keys, kid)) {
        return 'token_key';
    }
    const signed = `${kid}.${parts[2]}.${parts[3]}`;
    const wanted = crypto.createHmac('sha256', Buffer.from(media_keys[kid], 'hex')).update(signed).digest('base64url');
    if (!same(wanted, parts[4])) {
        return 'token_signature';
    }
    if (Number(parts[2]) < nowS) {
        return 'token_expired';
    }
    return parts[3] === scope ? 'ok' : 'token_scope';
}

// Both are 43 characters; the time does not tell where they differ.
function same(a, b) {
    let difference = a.length ^ b.length;
    for (let i = 0; i < a.length; i++) {
        difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
    }
    return difference === 0;
}

function judge(r) {
    const path = PATH.exec(r.variables.request_uri);
    return path === null ? 'token_malformed' : verify(path[1], path[2], Math.floor(Date.now() / 1000));
}

export default { judge };
