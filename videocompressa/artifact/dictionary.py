"""The dictionary of format 2's provenance, by `tools/make_dictionary.py`; frozen with the format number."""

DICTIONARY = (
    '{"classes":[],"codec":{"bytes":2649104,"channels":8,"downscale":8,"scale":[1.100000023841858,1.10000'
    "0023841858,1.0,0.8899999856948853,0.8500000238418579,0.8700000047683716,0.8799999952316284,0.8399999"
    '737739563],"sha256":"21ab18663b919d9f6228d9ac843c310b55195e0fadcbe20f24079d68ceb4f345","shift":[0.0,'
    "0.0,0.0,0.009999999776482582,-0.009999999776482582,-0.019999999552965164,0.009999999776482582,0.0]},"
    '"config":{"features":"latents","fill":"linear","joint":{"batch_size":32,"coverage_weight":0.3,"enabl'
    'ed":true,"lr":0.002,"steps":400,"student_lr":0.005,"understanding":true,"width":32},"labels":"soft",'
    '"loss":0.15,"pool":{"ages":[1,1,1,1,20,60,150,300],"real_per_class":48,"task_from":100},"scorer":{"f'
    'rame_differences":true,"tau_end":0.3,"tau_start":2.0,"temporal_kernel":3,"thumbnail":32,"width":32},'
    '"selector":"gumbel","spend":"frames","subset":"facility-location","synthesis":{"batch_size":16,"enab'
    'led":true,"lr":0.015,"manifold_weight":0.1,"match_weight":1.0,"selector_lr":0.001,"steps":100,"task_'
    'weight":0.1},"teacher":{"as_stored":0.5,"num_teachers":1,"num_views":8,"temperature":1.0,"train":{"a'
    'ugment":"flip-crop","background":0.0,"batch_size":16,"color":0.0,"crop_scale":0.8,"cutmix":0.0,"ema"'
    ':0.0,"flip":true,"label_smoothing":0.0,"loss":"cross-entropy","lr":0.002,"milestones":[0.5],"mixup":'
    '0.0,"momentum":0.9,"optimizer":"adamw","precision":"bfloat16","schedule":"cosine","steps":1000,"stud'
    'ent":"minic3d","warmup_steps":50,"weight_decay":0.01,"width":0.5}}},"normalization":{"mean":[0."code'
    'c":{"bytes":0,"channels":3,"downscale":1,"scale":[0.25,0.25,0.25],"sha256":"","shift":[0.5,0.5]},"co'
    'nfig":{"fill":"linear","labels":"hard","lr":30.0,"matching":{"classes_per_step":0,"real_per_class":6'
    '4,"student":"convnet3d","width":1.0},"momentum":0.5,"selector":"uniform","steps":5000,"width":0.5}}}'
    '}"config":{"coder":"av1","crf":null,"subset":"herding","config":{"coder":"h264","config":{"coder":"w'
    'ebp","subset":"k-center","frames":"all","kernel":"paper","ratio":0.75,"select":"dpp","sweeps":0,"sel'
    'ect":"k-means","select":"random","kernel":"scaled","lr":1000.0,"matching":{"batch_size":0,"experts":'
    '{"batch_size":256,"epochs":50,"lr":0.01,"momentum":0.0,"num_experts":30,"inner_lr":0.01,"inner_lr_lr'
    '":1e-05,"inner_steps":10,"max_start_epoch":10,"target_epochs":1},"steps":8000,"subset":"random","con'
    'fig":{"crop_scale":0.08,"num_crops":5,"pool_per_class":70,"stitch":1,"width":0.5}},"window":0.5}}"co'
    'nfig":{"joiner_lr":1e-05,"joiner_start":"random","kernel":3,"lr":0.0001,"momentum":0.95,"statics":{"'
    'lr":30.0,"per_video":2,"steps":5000},"config":{"joiner_lr":0.001,"lr":10000.0,"steps":10000,"spend":'
    '"bytes","enabled":false,],"positions":"","split":"","times":[],"videos":[".mp4","train/'
)
