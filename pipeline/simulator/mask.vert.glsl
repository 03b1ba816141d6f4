void main() {
    mat4 bone = blended_bone();
    vec4 placed = bone * vec4(vertex, 1.0);
    gl_Position = view_projection * placed;
}
