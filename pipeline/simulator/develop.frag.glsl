// Linear light to 8-bit sRGB: averages the supersamples, then exposure, white balance, vignette, shoulder, gamma.
uniform sampler2D light;
uniform int supersampling;
uniform vec2 size;
uniform vec3 gain;
uniform float saturation;
uniform float vignette;
out vec4 developed;

void main() {
    ivec2 first = ivec2(gl_FragCoord.xy) * supersampling;
    vec3 sum = vec3(0.0);
    for (int y = 0; y < supersampling; y++)
        for (int x = 0; x < supersampling; x++)
            sum += min(texelFetch(light, first + ivec2(x, y), 0).rgb, vec3(8.0));
    vec3 c = sum / float(supersampling * supersampling) * gain;
    vec2 off = gl_FragCoord.xy / size * 2.0 - 1.0;
    c *= 1.0 - vignette * dot(off, off) * 0.5;
    c = c * (1.0 + c * 0.08) / (1.0 + c * 0.45);
    c = pow(clamp(c, 0.0, 1.0), vec3(1.0 / 2.2));
    float grey = dot(c, vec3(1.0 / 3.0));
    developed = vec4(grey + (c - grey) * saturation, 1.0);
}
