/** Labels of many devices as pages to be printed: what invites each of them is on its own, so a sheet is as secret as they are. */
import { toString as qrCode } from 'qrcode';
import { escapeHtml } from '../html.js';
import { invitationText, type Invitation } from './invitation.js';

export interface Labelled {
  readonly invitation: Invitation;
  readonly name?: string;
}

/** On one sheet: a browser prints no more at once in reasonable time. */
export const labelsOnSheet = 240;

const style =
  '@page{size:A4;margin:10mm}body{font:9pt/1.3 sans-serif;margin:0}main{display:grid;grid-template-columns:repeat(3,1fr);gap:4mm}' +
  'figure{margin:0;padding:3mm;border:1px dashed #999;break-inside:avoid;text-align:center}svg{width:42mm;height:42mm}' +
  'figcaption{overflow-wrap:anywhere}b{display:block;font-size:11pt}';

/** HTML without scripts, of at most `labelsOnSheet` labels. */
export async function labelSheet(labels: readonly Labelled[]): Promise<string> {
  const figures: string[] = [];
  for (const { invitation, name = '' } of labels) {
    const svg = await qrCode(invitationText(invitation), { type: 'svg', errorCorrectionLevel: 'M' });
    const id = invitation.device.replace('urn:gridring:meter:', '');
    figures.push(`<figure>${svg.trim()}<figcaption><b>${escapeHtml(id)}</b>${escapeHtml(name)}</figcaption></figure>`);
  }
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>gridring: labels</title><style>${style}</style></head>
<body><main>
${figures.join('\n')}
</main></body></html>
`;
}
