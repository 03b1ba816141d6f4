// A person's vertex, blended from four bones. person.vert and mask.vert must place it identically.
invariant gl_Position;
in vec3 vertex;
in vec4 bone_index;
in vec4 bone_weight;
uniform mat4 bones[17];
uniform mat4 view_projection;

mat4 blended_bone() {
    return bones[int(bone_index.x)] * bone_weight.x + bones[int(bone_index.y)] * bone_weight.y
         + bones[int(bone_index.z)] * bone_weight.z + bones[int(bone_index.w)] * bone_weight.w;
}
