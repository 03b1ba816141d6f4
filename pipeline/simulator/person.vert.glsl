in vec3 normal;
in float material;
in float occlusion;
out vec3 world;
out vec3 world_normal;
out vec3 rest;
flat out int material_index;
out float open_sky;

void main() {
    mat4 bone = blended_bone();
    vec4 placed = bone * vec4(vertex, 1.0);
    world = placed.xyz;
    world_normal = mat3(bone) * normal;
    rest = vertex;
    material_index = int(material + 0.5);
    open_sky = occlusion;
    gl_Position = view_projection * placed;
}
