// Also the depth-only pass: llvmpipe corrupts tiles when the colour mask is off, so a colour is always written.
uniform float mask_value;
out vec4 mask;

void main() {
    mask = vec4(mask_value);
}
