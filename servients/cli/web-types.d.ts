/** Browsers' types that the types of qrcode name; nothing here draws on a canvas. */
interface HTMLCanvasElement {
  readonly width: number;
}
