// One sun with a soft shadow over an ambient hemisphere, linear light.
uniform sampler2DShadow shadow_map;
uniform mat4 shadow_projection;
uniform float shadow_texel;
uniform vec3 sun_direction;
uniform vec3 sun_colour;
uniform vec3 sky_colour;
uniform vec3 ground_colour;

float sunlit(vec3 world, vec3 normal) {
    vec3 at = (shadow_projection * vec4(world + normal * 0.02, 1.0)).xyz * 0.5 + 0.5;
    if (any(lessThan(at.xy, vec2(0.0))) || any(greaterThan(at.xy, vec2(1.0)))) return 1.0;
    at.z -= 0.0012;
    float r = shadow_texel * 1.2;
    float lit = texture(shadow_map, at);
    lit += texture(shadow_map, at + vec3(r, 0.4 * r, 0.0));
    lit += texture(shadow_map, at + vec3(-0.4 * r, r, 0.0));
    lit += texture(shadow_map, at + vec3(-r, -0.4 * r, 0.0));
    lit += texture(shadow_map, at + vec3(0.4 * r, -r, 0.0));
    return lit * 0.2;
}

vec3 shaded(vec3 albedo, vec3 normal, float open_sky, float lit) {
    vec3 ambient = mix(ground_colour, sky_colour, normal.z * 0.5 + 0.5) * open_sky;
    return albedo * (ambient + sun_colour * max(dot(normal, sun_direction), 0.0) * lit);
}
