/**
 * The claim of a device's token, and the field of its client's metadata, with its certificate: an array of base64, leaf
 * first, without the root, as in `x5c`. The API verifies the chain again, for the certificate may have ended meanwhile.
 */
export const certificatesClaim = 'certificates';
