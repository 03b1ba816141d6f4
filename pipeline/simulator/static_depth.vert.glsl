in vec3 vertex;
uniform mat4 view_projection;

void main() {
    gl_Position = view_projection * vec4(vertex, 1.0);
}
