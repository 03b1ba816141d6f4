// Skin with a face, hair, patterned cloth with folds. Patterns live in the rest pose, so they stay on the body.
in vec3 world;
in vec3 world_normal;
in vec3 rest;
flat in int material_index;
in float open_sky;
uniform vec3 eye;
uniform vec3 first_colour[8];   // sRGB, by material
uniform vec3 second_colour[8];
uniform vec2 pattern[8];        // kind, scale
uniform float height;
uniform float open_front;
uniform float identity;
layout(location = 0) out vec4 colour;
layout(location = 1) out float mask;

const int SKIN = 0, HAIR = 1, TOP = 2, INNER = 3, BOTTOM = 4, SHOE = 5, BAG = 6;

float hash(vec3 p) {
    p = fract(p * 0.3183099 + 0.1) * 17.0;
    return fract(p.x * p.y * p.z * (p.x + p.y + p.z));
}

float noise(vec3 p) {
    vec3 i = floor(p), f = fract(p);
    f = f * f * (3.0 - 2.0 * f);
    return mix(mix(mix(hash(i), hash(i + vec3(1, 0, 0)), f.x), mix(hash(i + vec3(0, 1, 0)), hash(i + vec3(1, 1, 0)), f.x), f.y),
               mix(mix(hash(i + vec3(0, 0, 1)), hash(i + vec3(1, 0, 1)), f.x), mix(hash(i + vec3(0, 1, 1)), hash(i + vec3(1)), f.x), f.y), f.z);
}

vec3 patterned(vec3 p) {
    vec3 first = first_colour[material_index], second = second_colour[material_index];
    int kind = int(pattern[material_index].x + 0.5);
    float scale = pattern[material_index].y;
    if (kind == 1) return fract(p.z * scale) < 0.5 ? first : second;
    if (kind == 2) return fract(p.x * scale) < 0.35 ? second : first;
    if (kind == 3) return mix(first, second, (fract(p.x * scale) < 0.45 ? 0.5 : 0.0) + (fract(p.z * scale) < 0.45 ? 0.5 : 0.0));
    if (kind == 4) return p.z > scale ? first : second;
    if (kind == 5) { vec2 cell = fract(p.xz * scale) - 0.5; return dot(cell, cell) < 0.07 ? second : first; }
    if (kind == 6) return mix(first, second, smoothstep(0.48, 0.54, noise(p * scale)));
    if (kind == 7 && p.y > 0.0 && abs(p.x) < 0.045 && abs(p.z - 0.73) < 0.03) return second;
    return first;
}

// Eyes, brows, mouth; darkens the sockets and the chin through `open`.
vec3 face(vec3 p, vec3 skin, inout float open) {
    if (p.z < 0.89 || p.y < 0.028) return skin;
    vec2 from_eye = vec2(abs(p.x) - 0.018, p.z - 0.936);
    vec2 in_eye = from_eye / vec2(0.0085, 0.0042);
    if (dot(in_eye, in_eye) < 1.0) skin = vec3(0.04, 0.03, 0.03);
    if (abs(from_eye.x) < 0.011 && abs(p.z - 0.948) < 0.0030) skin = second_colour[SKIN];
    if (abs(p.x) < 0.014 && abs(p.z - 0.896) < 0.0035) skin = first_colour[SKIN] * vec3(0.62, 0.40, 0.40);
    open *= 1.0 - 0.35 * exp(-dot(from_eye, from_eye) / (0.012 * 0.012));
    open *= 1.0 - 0.25 * exp(-pow((p.z - 0.878) / 0.010, 2.0));
    return skin;
}

vec3 folded(vec3 p, vec3 normal, inout float open) {
    vec3 at = p * vec3(26.0, 26.0, 15.0) + height * 31.0;
    float step_size = 0.15, here = noise(at);
    vec3 slope = vec3(noise(at + vec3(step_size, 0, 0)), noise(at + vec3(0, step_size, 0)), noise(at + vec3(0, 0, step_size))) - here;
    slope /= step_size;
    open *= 0.82 + 0.30 * here;
    return normalize(normal - 0.35 * (slope - dot(slope, normal) * normal));
}

void main() {
    vec3 p = rest / height;
    vec3 normal = normalize(world_normal);
    vec3 albedo = patterned(p);
    float open = open_sky, specular = 0.04, gloss = 12.0;
    if (material_index == SKIN) {
        albedo = face(p, albedo, open);
        specular = 0.10;
        gloss = 18.0;
    } else if (material_index == HAIR) {
        albedo *= 0.75 + 0.5 * noise(vec3(p.x * 160.0, p.y * 160.0, p.z * 30.0));
        specular = 0.12;
        gloss = 14.0;
    } else if (material_index == SHOE) {
        if (p.z < 0.014) albedo = second_colour[SHOE];
        specular = 0.12;
    }
    if (material_index == TOP && open_front > 0.0 && p.y > 0.0) {
        float gap = min(0.012 + max(0.0, p.z - 0.62) * 0.16 * open_front, 0.06);
        if (abs(p.x) < gap) { albedo = first_colour[INNER]; open *= 0.88; }
    }
    if (material_index == TOP || material_index == BOTTOM || material_index == BAG) normal = folded(p, normal, open);
    float lit = sunlit(world, normal);
    vec3 view = normalize(eye - world);
    vec3 light = shaded(pow(albedo, vec3(2.2)), normal, open, lit);
    light += sun_colour * lit * specular * 0.6 * pow(max(dot(normal, normalize(view + sun_direction)), 0.0), gloss);
    light += sky_colour * specular * 0.5 * pow(1.0 - max(dot(normal, view), 0.0), 4.0) * open;
    colour = vec4(light, 1.0);
    mask = identity;
}
