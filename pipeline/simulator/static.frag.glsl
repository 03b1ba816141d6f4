// Walls, floors and furniture; feet darken the ground that they touch.
in vec3 world;
in vec3 world_normal;
in vec3 at;
in vec3 paint;
uniform sampler2DArray surfaces;
uniform vec3 feet[64];   // x, y, contact 0..1
uniform int feet_count;
layout(location = 0) out vec4 colour;
layout(location = 1) out float mask;

void main() {
    vec3 albedo = pow(texture(surfaces, at).rgb, vec3(2.2)) * paint;
    float open = 1.0;
    if (world.z < 0.02)
        for (int i = 0; i < feet_count; i++) {
            vec2 away = world.xy - feet[i].xy;
            open *= 1.0 - 0.55 * feet[i].z * exp(-dot(away, away) / 0.035);
        }
    if (world.z < 3.0 && abs(world_normal.z) < 0.5) open *= 0.75 + 0.25 * min(world.z, 1.0);
    colour = vec4(shaded(albedo, world_normal, open, sunlit(world, world_normal)), 1.0);
    mask = 0.0;
}
