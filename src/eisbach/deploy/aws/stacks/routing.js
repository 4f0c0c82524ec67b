// CloudFront viewer-request: the slot in the request decides cell and region. No slot: any cell of the nearest region.
// Pure but for one look into the key-value store; a slot that is not there, or a store that fails, changes nothing, and
// the cell answers 421 with the owner, which the client follows.
import cf from 'cloudfront';

const REGIONS = __REGIONS__;
const DOOR = __DOOR__;
const SLOT = /^[a-z0-9-]{1,16}\/[a-z0-9-]{1,16}\/[a-z0-9-]{1,16}\/(0|[1-9][0-9]{0,3})$/;
const OWNER = /^([a-z0-9-]{1,32})\/([a-z0-9-]{1,32})$/;

async function handler(event) {
  const request = event.request;
  const headers = request.headers;
  delete headers['eisbach-cell'];                       // a client never says its cell, only its slot
  const given = headers['eisbach-slot'];
  if (!given || !SLOT.test(given.value)) return request;
  let owners;
  try {
    owners = await cf.kvs().get(given.value);
  } catch (error) {
    return request;                                      // not there, or the store does not answer
  }
  const first = OWNER.exec(owners.split(' ')[0]);
  if (first === null || REGIONS[first[1]] === undefined) return request;
  headers['eisbach-cell'] = { value: first[2] };
  if (DOOR === 'http-api') request.uri = '/' + first[2] + request.uri;
  cf.updateRequestOrigin({ domainName: REGIONS[first[1]] });
  return request;
}
