in vec3 vertex;
in vec3 normal;
in vec3 texture_uvw;
in vec3 tint;
uniform mat4 view_projection;
out vec3 world;
out vec3 world_normal;
out vec3 at;
out vec3 paint;

void main() {
    world = vertex;
    world_normal = normal;
    at = texture_uvw;
    paint = tint;
    gl_Position = view_projection * vec4(vertex, 1.0);
}
